// SPDX-License-Identifier: Apache-2.0
// A request whose body is read while it is sent, at the pace of the network. fetch of Node 24 would read all of it into memory first.

import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { pipeline } from 'node:stream/promises';

/** A body that is opened anew for each try. */
export interface StreamedBody {
  readonly sizeBytes: number;
  readonly open: () => AsyncIterable<Uint8Array>;
}

export interface StreamedRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: StreamedBody;
  readonly signal: AbortSignal;
  /** Called whenever the network has taken something. */
  readonly onProgress: () => void;
}

/**
 * Sends the request, whose body is not read further once there is an answer, and lets `read` have that. No redirect is followed.
 * @throws what the network or `read` throws, and the signal's abort error
 */
export async function sendStreamed<T>(
  url: string,
  { method, headers, body, signal, onProgress }: StreamedRequest,
  read: (response: IncomingMessage) => Promise<T>,
): Promise<T> {
  const start = url.startsWith('https:') ? httpsRequest : httpRequest;
  const sent = start(url, { method, signal, headers: { ...headers, 'content-length': body.sizeBytes } });
  // The length was announced: too little would leave the connection hanging, too much be taken for the next request.
  const changed = () => new Error('the file has changed since it was hashed');
  const chunks = async function* () {
    let sizeBytes = 0;
    for await (const chunk of body.open()) {
      onProgress();
      sizeBytes += chunk.length;
      if (sizeBytes > body.sizeBytes) throw changed();
      yield chunk;
    }
    onProgress();
    if (sizeBytes < body.sizeBytes) throw changed();
  };
  try {
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      sent.on('response', resolve);
      sent.on('error', reject);
      pipeline(chunks, sent).catch(reject);
    });
    return await read(response);
  } finally {
    if (!sent.writableFinished) sent.destroy();
  }
}

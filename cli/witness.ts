// SPDX-License-Identifier: Apache-2.0
// `waybill witness`: makes a witness of logs and runs it.

import type { Server as HttpsServer } from 'node:https';
import type { Command } from 'commander';
import { quote } from '../core/faults.ts';
import { readTlsFiles, type TlsFiles } from '../registry/http/tls-files.ts';
import { listen } from '../registry/listen.ts';
import { Witness } from '../registry/witness/witness.ts';
import { createWitness, WitnessFolder } from '../registry/witness/witness-folder.ts';
import { buildWitnessServer } from '../registry/witness/witness-server.ts';
import { CLI } from './faults.ts';
import { renewAtHangup, serveUntilStopped } from './serving.ts';
import { printJson, printLine } from './terminal.ts';

interface Json {
  readonly json?: true;
}

/** Adds `waybill witness` with its subcommands. */
export function witnessVerb(program: Command): void {
  const witness = program
    .command('witness')
    .summary('cosign the checkpoints of logs')
    .description(
      'Make and run a C2SP witness: it cosigns a checkpoint of a log that it knows only if the tree is the one that it ' +
        'cosigned before, grown or as it was. Run it on another machine, under other hands, than the log.',
    )
    .addHelpText(
      'after',
      '\nExample:\n' +
        '  waybill witness init w1 --name witness.acme.example/w1\n' +
        '  waybill witness add w1 log.acme.example+…\n' +
        '  waybill witness serve w1 --port 8420',
    );
  addInit(witness);
  addLog(witness);
  addServe(witness);
}

function addInit(witness: Command): void {
  witness
    .command('init')
    .description(
      'Make the folder of a witness, with its key (mode 0600), and print what log policies say of it.',
    )
    .argument('<folder>', 'folder to be made; must not exist or be empty')
    .requiredOption('--name <name>', 'name of the key, by custom a URL without scheme')
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  waybill witness init w1 --name witness.acme.example/w1')
    .action(async (folder: string, options: Json & { readonly name: string }) => {
      const vkey = await createWitness(folder, options.name);
      const policyLine = `witness ${options.name} ${vkey} <url>`;
      if (options.json === true) return printJson({ folder, vkey, policyLine });
      printLine(`Witness made in ${folder}`);
      printLine(`  verifier key:            ${vkey}`);
      printLine(`  line for a log policy:   ${policyLine}`);
      printLine('  (<url> is the address at which `waybill witness serve` will be reached)');
      printLine(`Next: waybill witness add ${folder} <vkey of the log>`);
    });
}

function addLog(witness: Command): void {
  witness
    .command('add')
    .description('Add a log, of which nothing was cosigned yet. The witness must not be running meanwhile.')
    .argument('<folder>', 'folder that `waybill witness init` made')
    .argument('<vkey>', "the log's verifier key, as in the `log` line of its log policy")
    .option('--json', 'print one JSON document')
    .addHelpText('after', '\nExample:\n  waybill witness add w1 log.acme.example+…')
    .action(async (folder: string, vkey: string, options: Json) => {
      const held = await WitnessFolder.open(folder);
      try {
        const { name } = await held.addLog(vkey);
        if (options.json === true) printJson({ folder, origin: name });
        else printLine(`${folder} witnesses ${name}`);
      } finally {
        await held.close();
      }
    });
}

interface ServeOptions extends Json {
  readonly host: string;
  readonly port: string;
  readonly tlsCert?: string;
  readonly tlsKey?: string;
}

/** Reads certificate and key, each time anew; undefined for plain HTTP. @throws CLI_USAGE */
function tlsReader({ tlsCert, tlsKey }: ServeOptions): (() => Promise<TlsFiles>) | undefined {
  if (tlsCert === undefined && tlsKey === undefined) return undefined;
  if (tlsCert === undefined || tlsKey === undefined) {
    throw CLI.reject('CLI_USAGE', 'expected --tls-cert and --tls-key, got one of them');
  }
  return () => readTlsFiles(process.cwd(), { certificate: tlsCert, key: tlsKey });
}

function addServe(witness: Command): void {
  witness
    .command('serve')
    .description(
      'Run a witness until SIGINT or SIGTERM; SIGHUP reads the TLS certificate again. Prints its address when it is ready; ' +
        'the log goes to standard error.',
    )
    .argument('<folder>', 'folder that `waybill witness init` made')
    .requiredOption('--port <port>', 'port to listen on; 0 takes a free one')
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--tls-cert <file>', 'serve TLS with this certificate and its intermediates, PEM')
    .option('--tls-key <file>', 'private key of the certificate, PEM, mode 0600')
    .option('--json', 'print the address as one JSON document')
    .addHelpText(
      'after',
      '\nExample:\n  waybill witness serve w1 --host 192.0.2.7 --port 8420 \\\n' +
        '    --tls-cert /etc/waybill/witness.pem --tls-key /etc/waybill/witness.key',
    )
    .action(async (folder: string, options: ServeOptions) => {
      const at = { host: options.host, port: portNumber(options.port) };
      const readTls = tlsReader(options);
      const tls = await readTls?.();
      const held = await Witness.open({ folder, clock: Date.now });
      const app = await buildWitnessServer(held, { logLevel: 'info', tls });
      renewAtHangup(
        app,
        readTls && (async () => (app.server as HttpsServer).setSecureContext(await readTls())),
      );
      await serveUntilStopped(app, async () => {
        const address = await listen(app, at);
        const { vkey, origins } = held;
        if (options.json === true) return printJson({ address, vkey, origins, pid: process.pid });
        printLine(`waybill witness: ready at ${address}`);
        for (const origin of origins) printLine(`  witnesses ${origin}`);
        if (origins.length === 0) printLine('  witnesses no log yet: `waybill witness add` adds one');
      });
    });
}

function portNumber(text: string): number {
  if (/^(0|[1-9][0-9]{0,4})$/.test(text) && Number(text) <= 65535) return Number(text);
  throw CLI.reject('CLI_USAGE', `expected --port to be a number from 0 to 65535, got ${quote(text)}`);
}

// SPDX-License-Identifier: Apache-2.0
// What is built for the figures: firmware of 300 small translation units, with Debian's compiler for Cortex-M. The start-up code and
// the memory map are those of examples/sensor.

import { existsSync } from 'node:fs';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { checkFolders } from '../../builder/build-inputs.ts';
import type { BuildDefinition } from '../../builder/definition.ts';
import { lockInputs } from '../../builder/lock.ts';
import { checkLock, formatLock, type Lock, parseLock } from '../../builder/lock-file.ts';
import { ContentStore } from '../../builder/store.ts';
import { mirrorOption, readDefinition, readLockFile } from '../../cli/definition-file.ts';

export const UNIT_COUNT = 300;
/** CPUs of a step, and parallel jobs of make. */
export const CPU_COUNT = 2;

/** The command of the step, the same wherever it is run; the sources are in /inputs/firmware. */
export const COMMAND = `make -s -j${CPU_COUNT} -f /inputs/firmware/Makefile`;

const REPOSITORY = new URL('../../', import.meta.url).pathname;
const SENSOR = join(REPOSITORY, 'examples/sensor/firmware');

const DEFINITION = `# Written by \`npm run bench builder\`.
waybill: 1
product: units
version: 1.0.0
sourceDateEpoch: 1769731200
inputs:
  firmware: { kind: folder, role: source, path: firmware }
  toolchain:
    kind: debian
    role: toolchain
    distribution: debian
    suite: bookworm
    components: [main]
    architecture: amd64
    keyring: /usr/share/keyrings/debian-archive-keyring.gpg
    packages: [gcc-arm-none-eabi, libnewlib-arm-none-eabi, libfaketime, make, dash, coreutils]
steps:
  - name: build
    inputs: [firmware, toolchain]
    command: ${COMMAND}
    cpus: ${CPU_COUNT}
    outputs:
      - path: units.bin
      - path: units.elf
      - path: units.map
      - path: units.d
products:
  - image: build/units.bin
    evidence:
      map: build/units.map
      elf: build/units.elf
      depfiles: [build/units.d]
components:
  - name: units
    paths: [firmware]
    supplier: Example Units
`;

const MAKEFILE = `SOURCES = /inputs/firmware
NEWLIB = /usr/lib/arm-none-eabi/newlib
CC = arm-none-eabi-gcc -mcpu=cortex-m3 -mthumb
CFLAGS = -std=c11 -Os -g -Wall -ffunction-sections -MMD -isystem /usr/include/newlib
LDFLAGS = -nostartfiles --specs=$(NEWLIB)/nano.specs -L$(NEWLIB)/thumb/v7-m/nofp -Wl,--gc-sections -Wl,-Map=units.map
UNITS = $(sort $(patsubst $(SOURCES)/src/%.c,%.o,$(wildcard $(SOURCES)/src/unit*.c)))
OBJECTS = startup.o syscalls.o main.o

all: units.bin units.d
units.bin: units.elf
	arm-none-eabi-objcopy -O binary units.elf units.bin
units.elf: $(OBJECTS) libunits.a
	$(CC) $(LDFLAGS) -T $(SOURCES)/sensor.ld $(OBJECTS) libunits.a -o units.elf
libunits.a: $(UNITS)
	arm-none-eabi-ar rcD libunits.a $(UNITS)
units.d: units.elf
	cat $(OBJECTS:.o=.d) $(UNITS:.o=.d) > units.d
%.o: $(SOURCES)/src/%.c
	$(CC) $(CFLAGS) -c $< -o $@
`;

export interface Project {
  readonly path: string;
  readonly folder: string;
  readonly definition: BuildDefinition;
  readonly definitionBytes: Uint8Array;
  readonly lock: Lock;
  readonly lockBytes: Uint8Array;
  readonly cache: string;
}

/** Lays the project into a folder. The packages come from Debian's mirror once, and then from the cache. @throws as `waybill lock` */
export async function openProject(base: string, onProgress: (text: string) => void): Promise<Project> {
  const [folder, cache] = [join(base, 'units'), join(base, 'waybill')];
  await writeSources(join(folder, 'firmware'));
  await writeFile(join(folder, 'waybill.yaml'), DEFINITION);
  const opened = await readDefinition(join(folder, 'waybill.yaml'));
  const { definition, bytes: definitionBytes } = opened;
  if (!existsSync(opened.lockPath) || !(await fits(definition, await readLockFile(opened), folder))) {
    onProgress('locking the inputs');
    const store = new ContentStore(cache);
    const lock = await lockInputs(definition, { folder, store, mirror: mirrorOption(undefined), onProgress });
    await writeFile(opened.lockPath, formatLock(lock));
  }
  const lockBytes = await readLockFile(opened);
  const lock = parseLock(lockBytes, opened.lockPath);
  return { path: opened.path, folder, definition, definitionBytes, lock, lockBytes, cache };
}

async function fits(definition: BuildDefinition, lockBytes: Uint8Array, folder: string): Promise<boolean> {
  try {
    const lock = parseLock(lockBytes, 'waybill.lock');
    checkLock(definition, lock);
    await checkFolders(lock.inputs, folder);
    return true;
  } catch {
    return false;
  }
}

async function writeSources(folder: string): Promise<void> {
  const sources = join(folder, 'src');
  await mkdir(sources, { recursive: true });
  for (const name of ['startup.c', 'syscalls.c'])
    await copyFile(join(SENSOR, 'src', name), join(sources, name));
  await copyFile(join(SENSOR, 'sensor.ld'), join(folder, 'sensor.ld'));
  const numbers = Array.from({ length: UNIT_COUNT }, (_, i) => i);
  await writeFile(join(folder, 'Makefile'), MAKEFILE);
  await writeFile(join(sources, 'units.h'), formatHeader(numbers));
  await writeFile(join(sources, 'main.c'), formatMain(numbers));
  for (const number of numbers) await writeFile(join(sources, `unit${number}.c`), formatUnit(number));
}

const TAG = '/* SPDX-License-Identifier: Apache-2.0 */\n';

function formatHeader(numbers: readonly number[]): string {
  const inline =
    'static inline uint32_t turn(uint32_t value, unsigned by)\n{\n    return (value << by) | (value >> (32 - by));\n}\n';
  const each = numbers.map((number) => `uint32_t step${number}(uint32_t value);\n`).join('');
  return `${TAG}#pragma once\n#include <stdint.h>\n${inline}${each}`;
}

function formatMain(numbers: readonly number[]): string {
  const calls = numbers.map((number) => `    value = step${number}(value);\n`).join('');
  return `${TAG}#include "units.h"\nint main(void)\n{\n    uint32_t value = 1;\n${calls}    return (int)value;\n}\n`;
}

/** Some functions, one of them unused, with headers of newlib and code of its library. */
function formatUnit(number: number): string {
  return `${TAG}#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "units.h"

static uint32_t state = ${number};

static uint32_t mix(const uint8_t *bytes, size_t count)
{
    uint32_t sum = state;
    for (size_t i = 0; i < count; i++)
        sum = turn(sum, ${1 + (number % 31)}) ^ bytes[i];
    return sum;
}

int name${number}(char *into, size_t size)
{
    return snprintf(into, size, "unit ${number}: %lu", (unsigned long)state);
}

uint32_t step${number}(uint32_t value)
{
    uint8_t bytes[16];
    memset(bytes, (int)(value & 0xff), sizeof bytes);
    memcpy(bytes, &value, sizeof value);
    state += mix(bytes, sizeof bytes);
    return state + (uint32_t)abs((int)value);
}
`;
}

/* SPDX-License-Identifier: MIT */
#ifndef CRC16_H
#define CRC16_H

#include <stddef.h>
#include <stdint.h>

/** CRC-16/CCITT-FALSE of `length` bytes: polynomial 0x1021, initial value 0xffff. */
uint16_t crc16(const void *data, size_t length);

#endif

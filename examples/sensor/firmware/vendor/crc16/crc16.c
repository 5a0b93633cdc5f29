/* SPDX-License-Identifier: MIT */
#include "crc16.h"

static const uint16_t table[16] = {
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
    0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef,
};

uint16_t crc16(const void *data, size_t length)
{
    const uint8_t *byte = data;
    uint16_t crc = 0xffff;
    for (size_t i = 0; i < length; i++) {
        crc = (uint16_t)(crc << 4) ^ table[(crc >> 12) ^ (byte[i] >> 4)];
        crc = (uint16_t)(crc << 4) ^ table[(crc >> 12) ^ (byte[i] & 15)];
    }
    return crc;
}

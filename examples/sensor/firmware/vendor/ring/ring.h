/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef RING_H
#define RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A queue of bytes in memory of the caller's; one slot stays free. */
struct ring {
    uint8_t *bytes;
    size_t size;
    size_t head;
    size_t tail;
};

void ring_open(struct ring *ring, uint8_t *bytes, size_t size);
bool ring_put(struct ring *ring, uint8_t byte);
bool ring_take(struct ring *ring, uint8_t *byte);

#endif

/* SPDX-License-Identifier: BSD-3-Clause */
#include "ring.h"

void ring_open(struct ring *ring, uint8_t *bytes, size_t size)
{
    ring->bytes = bytes;
    ring->size = size;
    ring->head = 0;
    ring->tail = 0;
}

bool ring_put(struct ring *ring, uint8_t byte)
{
    size_t next = (ring->head + 1) % ring->size;
    if (next == ring->tail)
        return false;
    ring->bytes[ring->head] = byte;
    ring->head = next;
    return true;
}

bool ring_take(struct ring *ring, uint8_t *byte)
{
    if (ring->head == ring->tail)
        return false;
    *byte = ring->bytes[ring->tail];
    ring->tail = (ring->tail + 1) % ring->size;
    return true;
}

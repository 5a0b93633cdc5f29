/* SPDX-License-Identifier: Apache-2.0 */
/* UART0 of the LM3S6965, sending only. */

#include "uart.h"

#include <stdint.h>

#define UART0 0x4000C000u
#define UART_DATA (*(volatile uint32_t *)(UART0 + 0x000))
#define UART_FLAGS (*(volatile uint32_t *)(UART0 + 0x018))
#define UART_CONTROL (*(volatile uint32_t *)(UART0 + 0x030))
#define FLAG_SEND_FULL (1u << 5)
#define CONTROL_ENABLE_SEND (1u << 0 | 1u << 8)

void uart_open(void)
{
    UART_CONTROL = CONTROL_ENABLE_SEND;
}

void uart_write(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        while ((UART_FLAGS & FLAG_SEND_FULL) != 0) {
        }
        UART_DATA = (uint8_t)text[i];
    }
}

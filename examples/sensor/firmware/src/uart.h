/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SENSOR_UART_H
#define SENSOR_UART_H

#include <stddef.h>

void uart_open(void);
void uart_write(const char *text, size_t length);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Says which version it is, then one reading a line with its check sum, for ever. */

#include "reading.h"
#include "uart.h"
#include "version.h"

#include <crc16.h>
#include <stdio.h>
#include <string.h>

static void say(const char *line)
{
    char framed[80];
    int length = snprintf(framed, sizeof framed, "%s*%04x\r\n", line, crc16(line, strlen(line)));
    uart_write(framed, (size_t)length);
}

int main(void)
{
    uart_open();
    say("sensor " SENSOR_VERSION);
    for (uint16_t raw = 512;; raw = (uint16_t)((raw + 1) & 1023)) {
        char line[32];
        int32_t reading = reading_from_raw(raw);
        snprintf(line, sizeof line, "T %ld mC", (long)reading);
        say(line);
        for (volatile uint32_t wait = 0; wait < 2000000; wait++) {
        }
    }
}

/* SPDX-License-Identifier: Apache-2.0 */
/* From reset to main: copies initialised data to RAM, clears the rest. */

#include <stdint.h>

extern uint32_t data_in_flash[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];
extern int main(void);

void reset_handler(void);

static void stop_handler(void)
{
    for (;;) {
    }
}

typedef void (*handler)(void);

__attribute__((section(".vectors"), used)) static const handler vectors[16] = {
    (handler)stack_top, reset_handler, stop_handler, stop_handler, stop_handler, stop_handler, stop_handler, 0,
    0,                  0,             0,            stop_handler, stop_handler, 0,            stop_handler, stop_handler,
};

void reset_handler(void)
{
    const uint32_t *from = data_in_flash;
    for (uint32_t *to = data_start; to < data_end;)
        *to++ = *from++;
    for (uint32_t *to = bss_start; to < bss_end;)
        *to++ = 0;
    main();
    stop_handler();
}

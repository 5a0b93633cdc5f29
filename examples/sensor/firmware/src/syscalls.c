/* SPDX-License-Identifier: Apache-2.0 */
/* What newlib asks of a system. There is memory, and nothing else: no file, no process. */

#include <errno.h>
#include <stddef.h>

extern char heap_start[], heap_end[];

void *_sbrk(ptrdiff_t more)
{
    static char *end = heap_start;
    char *before = end;
    if (more > heap_end - end) {
        errno = ENOMEM;
        return (void *)-1;
    }
    end += more;
    return before;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The temperature sensor of the LM3S6965: T = 147.5 - 75 * 3 V * raw / 1024 degrees Celsius. */

#include "reading.h"

int32_t reading_from_raw(uint16_t raw)
{
    return 147500 - (int32_t)((225000u * raw) / 1024u);
}

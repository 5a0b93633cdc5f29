/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SENSOR_READING_H
#define SENSOR_READING_H

#include <stdint.h>

/** Raw value of a ten-bit converter in thousandths of a degree Celsius. */
int32_t reading_from_raw(uint16_t raw);

#endif

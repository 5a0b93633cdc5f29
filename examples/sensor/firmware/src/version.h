/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SENSOR_VERSION_H
#define SENSOR_VERSION_H

/* The same as in waybill.yaml; a test compares what the firmware prints. */
#define SENSOR_VERSION "1.4.0"

#endif

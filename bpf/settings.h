/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Load-time settings: constants to the verifier, which removes what they switch off. */
#ifndef WAYLEAVE_SETTINGS_H
#define WAYLEAVE_SETTINGS_H

#include "abi.h"

const volatile struct settings settings SEC(".rodata.settings") = {
	.fib_by_table = 1,
};

#endif

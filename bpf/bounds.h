/* This file contains the comparison after which the verifier knows the bounds of a length. */
#pragma once

#include <bpf/bpf_helpers.h>

/* Whether a variable is within bounds, in two comparisons. The compiler would make one of both, of the variable less its lower
 * bound, and before Linux 6.11 the verifier learns nothing of a variable by what is compared of a copy that was added to. */
#define WITHIN(variable, least, most)                                                                                  \
	({                                                                                                             \
		bool within = (variable) <= (most);                                                                    \
		if (within) {                                                                                          \
			barrier_var(variable);                                                                         \
			within = (variable) >= (least);                                                                \
		}                                                                                                      \
		within;                                                                                                \
	})

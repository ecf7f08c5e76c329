/* This file contains the clock of flows and fragments: seconds of CLOCK_MONOTONIC in 32 bits. */
#pragma once

#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#define NANOSECONDS 1000000000ULL

static __always_inline __u32 now_seconds(void)
{
	return bpf_ktime_get_ns() / NANOSECONDS;
}

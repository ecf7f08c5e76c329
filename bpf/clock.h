/* This file contains the clock of flows and fragments: seconds of CLOCK_MONOTONIC in 32 bits. */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

#include "config.h"

#define NANOSECONDS 1000000000ULL

/* For programs that do not see packets; some of them are denied the other clock. */
static __always_inline __u32 exact_seconds(void)
{
	return bpf_ktime_get_ns() / NANOSECONDS;
}

/* The coarse clock (5.11) ticks in milliseconds and costs a few nanoseconds, against some forty for the exact one on a
 * virtual machine: a third of all that a packet of a known flow costs. Whether there is one the loader says: for
 * an object that asks the kernel's BTF itself (CO-RE), libbpf reads all of it, which takes 15 ms (docs/adr/0014). */
static __always_inline __u64 now_nanoseconds(void)
{
	return tb_config.coarse_clock ? bpf_ktime_get_coarse_ns() : bpf_ktime_get_ns();
}

static __always_inline __u32 now_seconds(void)
{
	return now_nanoseconds() / NANOSECONDS;
}

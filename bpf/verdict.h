/* This file contains how a packet program ends: the verdicts, and the counting of reasons. */
#pragma once

#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

#include "config.h" /* the loader sets it in every object */
#include "maps/metrics.h"
#include "reasons.h"

/* A stage returns CONTINUE, or the verdict the program returns as it is. */
#define CONTINUE (-2)

/* Or this: whoever has sent the packet is to be told that it is refused, and why. */
#define REFUSED(reason) (-16 - (int)(reason))

/* To the next program on the hook, and then to the stack: TC_ACT_OK would skip other people's filters. The value
 * is TCX_NEXT too. A packet that is taken away is TC_ACT_SHOT everywhere, because to TCX any other value than
 * pass, drop and redirect means "next". */
#define PASS TC_ACT_UNSPEC

static __always_inline void count(__u32 reason)
{
	__u64 *packets = bpf_map_lookup_elem(&tb_metrics, &reason);
	if (packets)
		(*packets)++;
}

static __always_inline bool is_refused(int verdict)
{
	return verdict <= REFUSED(0);
}

static __always_inline int drop(enum reason reason)
{
	count(reason);
	return TC_ACT_SHOT;
}

/* Leaves a packet to the node's stack. */
static __always_inline int to_stack(enum reason reason)
{
	count(reason);
	return PASS;
}

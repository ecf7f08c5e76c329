/* This file contains masquerading: what leaves the cluster by the uplink leaves with the node's address. */
#pragma once

#include <linux/bpf.h>

#include "packet.h"
#include "verdict.h"

/* CONTINUE: the packet goes on, translated or not; `packet` says what it is now. */
static __always_inline int masquerade(struct __sk_buff *skb, struct packet *packet)
{
	return CONTINUE;
}

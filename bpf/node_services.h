/* This file contains services for clients outside the cluster: node ports and addresses that nodes announce. */
#pragma once

#include <linux/bpf.h>

#include "masquerade.h"
#include "packet.h"
#include "verdict.h"

/* At the uplink. CONTINUE: the packet goes on, translated or not; `packet` says what it is now. */
static __always_inline int from_outside(struct __sk_buff *skb, struct packet *packet)
{
	return unmasquerade(skb, packet);
}

/* At a pod's host end: replies to such clients. CONTINUE as above. */
static __always_inline int to_outside(struct __sk_buff *skb, struct packet *packet)
{
	return CONTINUE;
}

/* This file contains what the programs at the devices of the node tell those where packets leave it: that there is nothing
 * left to translate. Who forwards a packet has parsed it and knows its destination; it need not be done again. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "marks.h"
#include "nat.h"
#include "packet.h"

/* Marks in skb->cb, which a redirect keeps and the stack's receiving wipes. Two words, since cb may hold leftovers. */
#define UNTRANSLATED_MARK_0 0x6c656176
#define UNTRANSLATED_MARK_1 0x6561736e

/* Whether a packet to somebody in the cluster leaves as it is: nobody there is hidden from, and no translation is known. Of
 * fragments and ICMP only the whole way through the tables tells. */
static __always_inline bool stays_untranslated(const struct packet *packet)
{
	if (packet->fragment != WHOLE || !has_ports(packet->protocol))
		return false;
	if (!may_be_known(nat_marks(), &packet->destination, FLOW_FORWARD))
		return true;
	struct nat_key key = nat_key_of(packet);
	return !find_nat(&key);
}

/* What a pod has left in cb does not count. */
static __always_inline void mark_untranslated(struct __sk_buff *skb, bool untranslated)
{
	skb->cb[0] = untranslated ? UNTRANSLATED_MARK_0 : 0;
	skb->cb[1] = untranslated ? UNTRANSLATED_MARK_1 : 0;
}

static __always_inline bool is_untranslated(const struct __sk_buff *skb)
{
	return skb->cb[0] == UNTRANSLATED_MARK_0 && skb->cb[1] == UNTRANSLATED_MARK_1;
}

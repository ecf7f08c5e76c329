/* This file contains the ports of fragments. Only the first fragment has them, and it need not come first. What
 * comes before it is held as it is; after it, everything is sent through the hook once more, in order. */
#pragma once

#include <linux/bpf.h>
#include <linux/ip.h>
#include <bpf/bpf_helpers.h>

#include "bounds.h"
#include "clock.h"
#include "config.h"
#include "maps/flows.h"
#include "maps/fragments.h"
#include "packet.h"
#include "subprogram.h"
#include "verdict.h"

/* Fragments of one packet held: 64 KiB in frames of 1500 bytes are 45. */
#define HELD_PER_PACKET 48

/* Where a fragment is put together before it goes into tb_held: too long for the stack. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct held);
} tb_held_draft SEC(".maps");

static __always_inline struct fragment_key fragment_key_of(const struct packet *packet, __u8 direction)
{
	return (struct fragment_key){
		.source = packet->source,
		.destination = packet->destination,
		.identification = packet->identification,
		.protocol = packet->ipv6 ? 0 : packet->protocol,
		.direction = direction,
	};
}

static __always_inline struct fragment *find_fragment(const struct fragment_key *key)
{
	struct fragment *fragment = bpf_map_lookup_elem(&tb_fragments, key);
	return fragment && now_seconds() - fragment->seen < tb_config.fragment_seconds ? fragment : NULL;
}

/* Whether the fragment is held there now. What an earlier packet of this identification has left does not count. */
SUBPROGRAM bool hold_at(const struct held_key *key GIVEN, const struct held *draft GIVEN)
{
	if (!bpf_map_update_elem(&tb_held, key, draft, BPF_NOEXIST))
		return true;
	struct held *held = bpf_map_lookup_elem(&tb_held, key);
	return held && draft->seen - held->seen >= tb_config.fragment_seconds &&
	       !bpf_map_update_elem(&tb_held, key, draft, BPF_ANY);
}

/* At the first free index. */
static __always_inline bool hold(struct held_key *key, const struct held *draft)
{
	for (__u32 index = 0; index < HELD_PER_PACKET; index++) {
		key->index = index;
		if (hold_at(key, draft))
			return true;
	}
	return false;
}

SUBPROGRAM int hold_fragment(struct __sk_buff *skb, const struct packet *packet GIVEN,
			     const struct fragment_key *key GIVEN)
{
	__u32 zero = 0;
	struct held *draft = bpf_map_lookup_elem(&tb_held_draft, &zero);
	if (!draft)
		return drop(REASON_fragments_full);
	__u32 length = skb->len - packet->l3;
	if (!WITHIN(length, sizeof(struct iphdr), HELD_BYTES))
		return drop(REASON_fragment_too_long);
	if (bpf_skb_load_bytes(skb, packet->l3, draft->bytes, length))
		return drop(REASON_malformed);
	draft->length = length;
	draft->seen = now_seconds();
	struct held_key held_key = { .packet = *key };
	if (!hold(&held_key, draft))
		return drop(REASON_fragments_full);
	/* The first fragment may have gone by on another CPU meanwhile. Who deletes the held one sends it. */
	if (find_fragment(key) && !bpf_map_delete_elem(&tb_held, &held_key))
		return CONTINUE;
	count(REASON_fragment_held);
	return TC_ACT_SHOT;
}

/* Makes the packet the held one. -1: there is none at this index. 1: skip it. */
SUBPROGRAM int become_held(struct __sk_buff *skb, __u32 l3, const struct held_key *key GIVEN)
{
	struct held *held = bpf_map_lookup_elem(&tb_held, key);
	if (!held)
		return -1;
	__u32 length = held->length;
	bool stale = now_seconds() - held->seen >= tb_config.fragment_seconds;
	if (!WITHIN(length, sizeof(struct iphdr), HELD_BYTES))
		return 1;
	if (!stale && (bpf_skb_change_tail(skb, l3 + length, 0) || bpf_skb_store_bytes(skb, l3, held->bytes, length, 0)))
		stale = true;
	return bpf_map_delete_elem(&tb_held, key) || stale ? 1 : 0;
}

/* Sends the first fragment and all that waited for it through this hook again; they find their ports now. */
SUBPROGRAM int release_fragments(struct __sk_buff *skb, const struct packet *packet GIVEN,
				 const struct fragment_key *key GIVEN)
{
	struct held_key held_key = { .packet = *key };
	if (!bpf_map_lookup_elem(&tb_held, &held_key))
		return CONTINUE;
	__u32 l3 = packet->l3;
	__u64 towards = key->direction == FLOW_REPLY ? BPF_F_INGRESS : 0;
	bpf_clone_redirect(skb, skb->ifindex, towards);
	for (__u32 index = 0; index < HELD_PER_PACKET; index++) {
		held_key.index = index;
		int became = become_held(skb, l3, &held_key);
		if (became < 0)
			break;
		if (became > 0)
			continue;
		count(REASON_fragment_released);
		bpf_clone_redirect(skb, skb->ifindex, towards);
	}
	return TC_ACT_SHOT; /* all that mattered has gone as a clone */
}

/* Gives a fragment its ports. CONTINUE: it has them. */
SUBPROGRAM int find_ports(struct __sk_buff *skb, struct packet *packet GIVEN, __u32 direction)
{
	struct fragment_key key = fragment_key_of(packet, direction);
	struct fragment *known = find_fragment(&key);
	if (packet->fragment == LATER_FRAGMENT) {
		if (!known) {
			int verdict = hold_fragment(skb, packet, &key);
			if (verdict != CONTINUE)
				return verdict;
			known = find_fragment(&key);
		}
		if (!known)
			return drop(REASON_fragments_full);
		packet->source_port = known->source_port;
		packet->destination_port = known->destination_port;
		packet->protocol = known->protocol;
		return CONTINUE;
	}
	bool again = known != NULL;
	struct fragment ports = {
		.source_port = packet->source_port,
		.destination_port = packet->destination_port,
		.seen = now_seconds(),
		.protocol = packet->protocol,
	};
	bpf_map_update_elem(&tb_fragments, &key, &ports, BPF_ANY);
	/* Released once: on its second way through, its ports are known. */
	return again ? CONTINUE : release_fragments(skb, packet, &key);
}

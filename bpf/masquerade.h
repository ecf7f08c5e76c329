/* This file contains masquerading: what leaves the cluster by the uplink leaves with the node's address, and what comes back
 * goes to the pod. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "fragments.h"
#include "packet.h"
#include "pods.h"
#include "snat.h"
#include "verdict.h"

/* Of NO_MASQUERADE_TO and NO_MASQUERADE_FROM. */
static __always_inline __u32 exceptions_of(const struct address *address)
{
	struct tunnel_key key = { .length = 8 * sizeof(*address), .address = *address };
	__u32 *flags = bpf_map_lookup_elem(&tb_no_masquerade, &key);
	return flags ? *flags : 0;
}

/* Whether the packet may be the first of a flow from the pod. A TCP segment that opens nothing answers somebody outside who
 * has called the pod by its own address, and has to leave with it. */
static __always_inline bool opens_flow(const struct packet *packet)
{
	if (packet->protocol == IPPROTO_TCP)
		return opens_connection(packet);
	return has_ports(packet->protocol) || asks_for_echo(packet);
}

SUBPROGRAM int masquerade_source(struct __sk_buff *skb, struct packet *packet)
{
	if (packet->fragment != WHOLE) {
		if (packet->fragment == FIRST_FRAGMENT)
			name_ports(skb, packet);
		int verdict = find_ports(skb, packet, FLOW_REPLY);
		if (verdict != CONTINUE)
			return verdict;
	}
	if (is_icmp_error(packet)) {
		int verdict = translate_nat_error(skb, packet, FLOW_FORWARD);
		return verdict == PASS ? CONTINUE : verdict;
	}
	if (!name_ports(skb, packet)) {
		count(REASON_masquerade_protocol);
		return CONTINUE;
	}
	struct flow_key key = flow_key_of(packet, FLOW_FORWARD);
	struct nat *nat = find_nat(&key);
	if (!nat && (!opens_flow(packet) || exceptions_of(&packet->source) & NO_MASQUERADE_FROM))
		return CONTINUE;
	int verdict = CONTINUE;
	nat = nat_of_sender(skb, packet, &key, 0, &verdict);
	return nat ? send_nat(skb, packet, &key, nat) : verdict;
}

/* CONTINUE: the packet goes on, translated or not; `packet` says what it is now. */
static __always_inline int masquerade(struct __sk_buff *skb, struct packet *packet)
{
	const struct nat_source *source = nat_source();
	if (!source || !source->masquerade || exceptions_of(&packet->destination) & NO_MASQUERADE_TO)
		return CONTINUE;
	struct pod *sender = find_pod(&packet->source);
	if (!sender || sender->flags & POD_KEEPS_ADDRESS)
		return CONTINUE;
	return masquerade_source(skb, packet);
}

/* A datagram from outside to a pod by its own address: its answer has to leave with that, which only an entry can tell from
 * the first datagram of a flow of the pod's own. It is translated to itself. */
SUBPROGRAM int note_client(const struct packet *packet)
{
	if (exceptions_of(&packet->source) & NO_MASQUERADE_TO || !find_pod(&packet->destination))
		return 0;
	struct flow_key reply_key = flow_key_of(packet, FLOW_REPLY);
	__u32 now = now_seconds();
	struct nat *known = find_nat(&reply_key);
	if (known) {
		if (known->seen != now)
			known->seen = now;
		return 0;
	}
	struct nat half = {
		.address = packet->destination,
		.port = packet->destination_port,
		.seen = now,
		.since = now,
	};
	struct flow_key key = nat_other_half(&reply_key, &half);
	/* Opened by the pod, which is hidden already: it goes on as it is. */
	if (find_nat(&key))
		return 0;
	if (bpf_map_update_elem(&tb_nat, &reply_key, &half, BPF_NOEXIST) ||
	    bpf_map_update_elem(&tb_nat, &key, &half, BPF_NOEXIST)) {
		bpf_map_delete_elem(&tb_nat, &reply_key);
		count(REASON_nat_client_untracked);
	}
	return 0;
}

static __always_inline bool is_datagram(const struct packet *packet)
{
	return (packet->protocol == IPPROTO_UDP || packet->protocol == IPPROTO_SCTP) && packet->fragment != LATER_FRAGMENT;
}

/* At the uplink: what comes back. CONTINUE as above. */
SUBPROGRAM int unmasquerade(struct __sk_buff *skb, struct packet *packet)
{
	const struct nat_source *source = nat_source();
	if (!source)
		return CONTINUE;
	if (!address_equal(&packet->destination, address_of_family(source, packet->ipv6))) {
		if (source->masquerade && is_datagram(packet))
			note_client(packet);
		return CONTINUE;
	}
	if (packet->fragment != WHOLE) {
		if (packet->fragment == FIRST_FRAGMENT)
			name_ports(skb, packet);
		int verdict = find_ports(skb, packet, FLOW_REPLY);
		if (verdict != CONTINUE)
			return verdict;
	}
	if (is_icmp_error(packet)) {
		int verdict = translate_nat_error(skb, packet, FLOW_REPLY);
		return verdict == PASS ? CONTINUE : verdict;
	}
	if (!name_ports(skb, packet))
		return CONTINUE;
	struct flow_key key = flow_key_of(packet, FLOW_REPLY);
	struct nat *nat = find_nat(&key);
	return nat ? send_nat(skb, packet, &key, nat) : CONTINUE;
}

/* This file contains source NAT: what leaves with the node's address, and what comes back to it. Every flow is entered
 * as a pair of halves, like those of services; ports come from a range that the node's own sockets are not given. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "connection.h"
#include "flows.h"
#include "icmp.h"
#include "packet.h"
#include "rewrite.h"
#include "subprogram.h"
#include "verdict.h"

/* Ports tried before a flow is given up. They are drawn at random: with nine in ten taken, one flow in thirty fails. */
#define NAT_PORT_TRIES 32

/* Seconds after which a finished flow's port may be given away, where the server does not hold on to it: so many that the
 * last segments have arrived, and so few that a range of 20,000 ports carries as many connections a second to one peer. */
#define NAT_PORT_REST_SECONDS 1

#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO 8
#define ICMP6_ECHO 128
#define ICMP6_ECHO_REPLY 129

static __always_inline const struct nat_source *nat_source(void)
{
	__u32 key = 0;
	return bpf_map_lookup_elem(&tb_nat_source, &key);
}

static __always_inline const struct address *address_of_family(const struct nat_source *source, bool ipv6)
{
	return ipv6 ? &source->ipv6 : &source->ipv4;
}

static __always_inline bool is_echo(const struct packet *packet)
{
	if (packet->ipv6)
		return packet->protocol == IPPROTO_ICMPV6 &&
		       (packet->icmp_type == ICMP6_ECHO || packet->icmp_type == ICMP6_ECHO_REPLY);
	return packet->protocol == IPPROTO_ICMP &&
	       (packet->icmp_type == ICMP_ECHO || packet->icmp_type == ICMP_ECHO_REPLY);
}

static __always_inline bool asks_for_echo(const struct packet *packet)
{
	return packet->icmp_type == (packet->ipv6 ? ICMP6_ECHO : ICMP_ECHO);
}

/* Where an echo has its identifier; the header before it is a type, a code and a checksum. */
static __always_inline __u32 echo_offset(const struct packet *packet)
{
	return packet->l4 + offsetof(struct icmp_header, rest);
}

/* Makes the identifier of an echo a port of who asks. False: the packet has nothing to tell flows apart by. */
static __always_inline bool name_ports(struct __sk_buff *skb, struct packet *packet)
{
	if (has_ports(packet->protocol))
		return true;
	if (packet->fragment == LATER_FRAGMENT || !is_echo(packet))
		return packet->source_port | packet->destination_port;
	__be16 identifier = 0;
	if (bpf_skb_load_bytes(skb, echo_offset(packet), &identifier, sizeof(identifier)))
		return false;
	if (asks_for_echo(packet))
		packet->source_port = identifier;
	else
		packet->destination_port = identifier;
	return true;
}

static __always_inline struct nat *find_nat(const struct flow_key *key)
{
	return bpf_map_lookup_elem(&tb_nat, key);
}

static __always_inline struct flow_key nat_other_half(const struct flow_key *key, const struct nat *nat)
{
	struct flow_key other = { .protocol = key->protocol };
	if (key->direction == FLOW_FORWARD) {
		other.direction = FLOW_REPLY;
		other.source = key->destination;
		other.source_port = key->destination_port;
		other.destination = nat->address;
		other.destination_port = nat->port;
	} else {
		other.direction = FLOW_FORWARD;
		other.source = nat->address;
		other.source_port = nat->port;
		other.destination = key->source;
		other.destination_port = key->source_port;
	}
	return other;
}

/* Seconds since the last packet in either direction; `other` may be missing. */
static __always_inline __s32 nat_idle(const struct nat *nat, const struct nat *other, __u32 now)
{
	__s32 idle = now - nat->seen;
	__s32 other_idle = other ? (__s32)(now - other->seen) : idle;
	return other_idle < idle ? other_idle : idle;
}

static __always_inline bool nat_is_over(__u8 protocol, const struct nat *nat, __s32 idle, __u32 now)
{
	__s32 lasted = now - idle - nat->since;
	return idle >= (__s32)flow_timeout(protocol, nat->state, nat->flags, lasted);
}

/* Whether a finished flow may lose its port to another one. */
SUBPROGRAM bool may_take_port(const struct flow_key *key, const struct nat *nat, __u32 now)
{
	struct flow_key other_key = nat_other_half(key, nat);
	struct nat *other = find_nat(&other_key);
	__s32 idle = nat_idle(nat, other, now);
	bool finished = nat->state == FLOW_RESET || (nat->state == FLOW_CLOSING && !(nat->flags & FLOW_LINGERS));
	return (finished && idle >= NAT_PORT_REST_SECONDS) || nat_is_over(key->protocol, nat, idle, now);
}

SUBPROGRAM void delete_nat(const struct flow_key *key, const struct nat *nat)
{
	struct flow_key other = nat_other_half(key, nat);
	bpf_map_delete_elem(&tb_nat, &other);
	bpf_map_delete_elem(&tb_nat, key);
}

static __always_inline void enter_nat_stage(struct nat *nat, struct stage stage, __u32 now)
{
	nat->state = stage.state;
	nat->flags = stage.flags;
	nat->since = now;
}

static __always_inline int set_nat_stage(struct flow_key *key, struct nat *nat, struct stage stage, __u32 now)
{
	enter_nat_stage(nat, stage, now);
	struct flow_key other_key = nat_other_half(key, nat);
	struct nat *other = find_nat(&other_key);
	if (other)
		enter_nat_stage(other, stage, now);
	return 0;
}

SUBPROGRAM int change_nat_stage(struct flow_key *key, struct nat *nat, __u32 tcp_flags, __u32 now)
{
	struct stage before = { .state = nat->state, .flags = nat->flags };
	struct stage after = next_stage(before, key->direction, tcp_flags, now - nat->since);
	if (after.state == before.state && after.flags == before.flags)
		return 0;
	return set_nat_stage(key, nat, after, now);
}

/* Begins anew with the same port: who opens a connection with the tuple of a finished one is the same host to the peer, and
 * knows when it may. */
SUBPROGRAM int reopen_nat(struct flow_key *key, struct nat *nat, __u32 now)
{
	struct stage fresh = { .state = FLOW_NEW, .flags = nat->flags & NAT_SERVICE };
	nat->seen = now;
	return set_nat_stage(key, nat, fresh, now);
}

/* Whether a socket of the node has the tuple that packets of the key come in for, or listens for it. */
SUBPROGRAM bool taken_by_node(struct __sk_buff *skb, const struct flow_key *key)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size;
	if (address_is_ipv4(&key->source)) {
		tuple.ipv4.saddr = key->source.words[3];
		tuple.ipv4.daddr = key->destination.words[3];
		tuple.ipv4.sport = key->source_port;
		tuple.ipv4.dport = key->destination_port;
		size = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, &key->source, sizeof(tuple.ipv6.saddr));
		__builtin_memcpy(tuple.ipv6.daddr, &key->destination, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.sport = key->source_port;
		tuple.ipv6.dport = key->destination_port;
		size = sizeof(tuple.ipv6);
	}
	struct bpf_sock *socket = NULL;
	if (key->protocol == IPPROTO_TCP)
		socket = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	else if (key->protocol == IPPROTO_UDP)
		socket = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return false;
	bpf_sk_release(socket);
	return true;
}

/* HOW A PORT WAS TAKEN: */
#define NAT_ENTERED 0
#define NAT_TABLE_FULL 1
#define NAT_NO_PORT 2

/* Takes a port by entering the reply half, whose key is what makes a tuple taken. SCTP keeps its port: the checksum covers
 * it and cannot be mended. */
SUBPROGRAM int take_port(struct __sk_buff *skb, struct flow_key *reply_key, struct nat *reply, __u32 first, __u32 ports)
{
	if (!ports)
		return NAT_NO_PORT;
	for (int try = 0; try < NAT_PORT_TRIES; try++) {
		reply_key->destination_port = reply_key->protocol == IPPROTO_SCTP
						      ? reply->port
						      : bpf_htons(first + bpf_get_prandom_u32() % ports);
		if (taken_by_node(skb, reply_key))
			continue;
		if (!bpf_map_update_elem(&tb_nat, reply_key, reply, BPF_NOEXIST))
			return NAT_ENTERED;
		struct nat *taken = find_nat(reply_key);
		if (!taken) /* so it was not that the tuple is taken */
			return NAT_TABLE_FULL;
		if (!may_take_port(reply_key, taken, reply->seen))
			continue;
		delete_nat(reply_key, taken);
		if (!bpf_map_update_elem(&tb_nat, reply_key, reply, BPF_NOEXIST))
			return NAT_ENTERED;
	}
	return NAT_NO_PORT;
}

/* Enters both halves or none. CONTINUE: the flow is in the table. */
SUBPROGRAM int open_nat(struct __sk_buff *skb, const struct packet *packet, struct flow_key *key, __u32 flags)
{
	const struct nat_source *source = nat_source();
	if (!source)
		return drop(REASON_nat_no_address);
	__u32 now = now_seconds();
	struct nat half = {
		.address = packet->source,
		.port = packet->source_port,
		.flags = flags,
		.seen = now,
		.since = now,
	};
	struct flow_key reply_key = {
		.source = packet->destination,
		.source_port = packet->destination_port,
		.destination = *address_of_family(source, packet->ipv6),
		.protocol = packet->protocol,
		.direction = FLOW_REPLY,
	};
	if (!(reply_key.destination.words[0] | reply_key.destination.words[3]))
		return drop(REASON_nat_no_address);
	int taken = take_port(skb, &reply_key, &half, source->first_port, source->ports);
	if (taken != NAT_ENTERED)
		return drop(taken == NAT_TABLE_FULL ? REASON_nat_table_full : REASON_nat_no_port);
	half.address = reply_key.destination;
	half.port = reply_key.destination_port;
	if (bpf_map_update_elem(&tb_nat, key, &half, BPF_ANY)) {
		bpf_map_delete_elem(&tb_nat, &reply_key);
		return drop(REASON_nat_table_full);
	}
	count(REASON_nat_created);
	return CONTINUE;
}

static __always_inline long rewrite_echo(struct __sk_buff *skb, const struct packet *packet, bool side,
					 const struct address *address, __be16 port)
{
	if (packet->fragment == LATER_FRAGMENT) {
		struct ports none = {};
		return rewrite(skb, packet, side, address, none);
	}
	__be16 old = side == SOURCE ? packet->source_port : packet->destination_port;
	return rewrite_outer(skb, packet, side, address) ||
	       (old != port && (bpf_l4_csum_replace(skb, icmp_checksum(packet), old, port, sizeof(port)) ||
				bpf_skb_store_bytes(skb, echo_offset(packet), &port, sizeof(port), 0)));
}

/* Gives the packet another end, and says so in `packet`. */
SUBPROGRAM int change_end(struct __sk_buff *skb, struct packet *packet, __u32 side, const struct nat *nat)
{
	struct address address = nat->address;
	__be16 port = nat->port;
	long failed;
	if (has_ports(packet->protocol)) {
		struct ports ports = { packet->source_port, packet->destination_port };
		if (side == SOURCE)
			ports.source = port;
		else
			ports.destination = port;
		failed = rewrite(skb, packet, side, &address, ports);
	} else {
		failed = rewrite_echo(skb, packet, side, &address, port);
	}
	if (failed)
		return drop(REASON_rewrite_failed);
	if (side == SOURCE) {
		packet->source = address;
		packet->source_port = port;
	} else {
		packet->destination = address;
		packet->destination_port = port;
	}
	return CONTINUE;
}

/* Translates a packet of a known flow, in either direction. CONTINUE: done. */
static __always_inline int send_nat(struct __sk_buff *skb, struct packet *packet, struct flow_key *key, struct nat *nat)
{
	__u32 now = now_seconds();
	if (may_change(packet, key->direction, nat->state))
		change_nat_stage(key, nat, packet->tcp_flags, now);
	if (nat->seen != now)
		nat->seen = now;
	return change_end(skb, packet, key->direction == FLOW_FORWARD ? SOURCE : DESTINATION, nat);
}

/* The flow that a packet opens or belongs to, with a port of the node's. NULL: `*verdict` says what becomes of it. */
static __always_inline struct nat *nat_of_sender(struct __sk_buff *skb, struct packet *packet, struct flow_key *key,
						 __u32 flags, int *verdict)
{
	struct nat *nat = find_nat(key);
	if (nat) {
		if (packet->protocol == IPPROTO_TCP && opens_connection(packet) &&
		    (nat->state == FLOW_CLOSING || nat->state == FLOW_RESET))
			reopen_nat(key, nat, now_seconds());
		return nat;
	}
	*verdict = open_nat(skb, packet, key, flags);
	if (*verdict != CONTINUE)
		return NULL;
	nat = find_nat(key);
	if (!nat)
		*verdict = drop(REASON_nat_table_full);
	return nat;
}

/* The key of the flow that would have the quoted packet's answer. Of an echo, whose identifier stands for one port only. */
static __always_inline bool parse_nat_quote(struct __sk_buff *skb, const struct packet *outer, struct packet *quoted)
{
	int result = parse_ip(skb, quoted, outer->l4 + sizeof(struct icmp_header), outer->ipv6, QUOTED);
	if (result == TRUNCATED) {
		bpf_skb_pull_data(skb, skb->len < HEADER_BYTES ? skb->len : HEADER_BYTES);
		__builtin_memset(quoted, 0, sizeof(*quoted));
		result = parse_ip(skb, quoted, outer->l4 + sizeof(struct icmp_header), outer->ipv6, QUOTED);
	}
	return result == PARSED && quoted->fragment != LATER_FRAGMENT && name_ports(skb, quoted);
}

/* Rewrites one end of the quoted packet, whatever it is. */
SUBPROGRAM int rewrite_nat_quote(struct __sk_buff *skb, const struct packet *outer, const struct packet *quoted,
				 const struct quote_change *change)
{
	if (has_ports(quoted->protocol))
		return rewrite_quote(skb, outer, quoted, change);
	/* An echo: its identifier is covered by its own checksum, and both by that of the error. */
	const struct address *old = change->side == SOURCE ? &quoted->source : &quoted->destination;
	__u32 at = address_offset(quoted, change->side);
	__be16 old_port = change->side == SOURCE ? quoted->source_port : quoted->destination_port;
	__be16 new_port = change->side == SOURCE ? change->ports.source : change->ports.destination;
	__s64 of_address = bpf_csum_diff((__be32 *)old, sizeof(*old), (__be32 *)&change->address, sizeof(*old), 0);
	long failed;
	if (quoted->ipv6) {
		failed = store_quoted(skb, outer, at, old, &change->address, sizeof(*old)) ||
			 mend_quoted_checksum(skb, outer, quoted->l4 + offsetof(struct icmp_header, checksum), of_address);
	} else {
		__be32 old_ipv4 = old->words[3], new_ipv4 = change->address.words[3];
		failed = mend_quoted_checksum(skb, outer, quoted->l3 + offsetof(struct iphdr, check), of_address) ||
			 store_quoted(skb, outer, at, &old_ipv4, &new_ipv4, sizeof(old_ipv4));
	}
	/* The identifier and its checksum change by opposite amounts: the error's own checksum stays. */
	return failed ||
	       (old_port != new_port &&
		(bpf_l3_csum_replace(skb, quoted->l4 + offsetof(struct icmp_header, checksum), old_port, new_port,
				     sizeof(new_port)) ||
		 bpf_skb_store_bytes(skb, echo_offset(quoted), &new_port, sizeof(new_port), 0)));
}

/* An ICMP error about a packet of a translated flow. `direction` is that of the error: FLOW_FORWARD leaves, and its source
 * becomes the node too, whoever sends it; FLOW_REPLY comes back. CONTINUE: translated. PASS: about no such flow. */
SUBPROGRAM int translate_nat_error(struct __sk_buff *skb, struct packet *outer, __u32 direction)
{
	struct packet quoted = {};
	if (!parse_nat_quote(skb, outer, &quoted))
		return PASS;
	struct flow_key key = key_of_answer(&quoted, direction);
	struct nat *nat = find_nat(&key);
	if (!nat)
		return PASS;
	bool leaves = direction == FLOW_FORWARD;
	struct quote_change change = {
		.address = nat->address,
		.ports = { quoted.source_port, quoted.destination_port },
		.side = leaves ? DESTINATION : SOURCE,
	};
	if (leaves)
		change.ports.destination = nat->port;
	else
		change.ports.source = nat->port;
	if (rewrite_nat_quote(skb, outer, &quoted, &change) ||
	    rewrite_outer(skb, outer, leaves ? SOURCE : DESTINATION, &change.address))
		return drop(REASON_rewrite_failed);
	if (leaves)
		outer->source = change.address;
	else
		outer->destination = change.address;
	count(REASON_icmp_translated);
	return CONTINUE;
}

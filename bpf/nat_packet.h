/* This file contains what a translation at the node does to a packet: to both of its addresses, to its ports or its echo's
 * identifier, and to the packet that an ICMP error quotes. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stddef.h>

#include "icmp.h"
#include "mss.h"
#include "nat.h"
#include "packet.h"
#include "rewrite.h"
#include "subprogram.h"
#include "this_node.h"
#include "verdict.h"

/* Echo requests and replies (RFC 792, RFC 4443). */
#define ICMP_ECHO_REPLY 0
#define ICMP_ECHO_REQUEST 8
#define ICMP6_ECHO_REQUEST 128
#define ICMP6_ECHO_REPLY 129

static __always_inline bool asks_echo(const struct packet *packet)
{
	return is_icmp(packet) && packet->icmp_type == (packet->ipv6 ? ICMP6_ECHO_REQUEST : ICMP_ECHO_REQUEST);
}

static __always_inline bool answers_echo(const struct packet *packet)
{
	return is_icmp(packet) && packet->icmp_type == (packet->ipv6 ? ICMP6_ECHO_REPLY : ICMP_ECHO_REPLY);
}

static __always_inline __u32 echo_identifier(const struct packet *packet)
{
	return packet->l4 + offsetof(struct icmp_header, rest);
}

/* Gives an echo its identifier for a port, on the side of who asks. False: the packet has nothing to be known by. */
static __always_inline bool has_nat_ports(struct __sk_buff *skb, struct packet *packet)
{
	if (has_ports(packet->protocol))
		return true;
	bool asks = asks_echo(packet);
	if (packet->fragment == LATER_FRAGMENT || (!asks && !answers_echo(packet)))
		return packet->source_port | packet->destination_port; /* as find_ports has found them */
	__be16 identifier = 0;
	if (bpf_skb_load_bytes(skb, echo_identifier(packet), &identifier, sizeof(identifier)))
		return false;
	if (asks)
		packet->source_port = identifier;
	else
		packet->destination_port = identifier;
	return true;
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
				bpf_skb_store_bytes(skb, echo_identifier(packet), &port, sizeof(port), 0)));
}

/* One side of a packet, with its port. */
SUBPROGRAM int rewrite_side(struct __sk_buff *skb, struct packet *packet GIVEN, bool side,
			    const struct address *address GIVEN, __be16 port)
{
	struct ports ports = { packet->source_port, packet->destination_port };
	__be16 before = side == SOURCE ? ports.source : ports.destination;
	const struct address *old = side == SOURCE ? &packet->source : &packet->destination;
	if (before == port && address_equal(old, address))
		return 0;
	if (side == SOURCE)
		ports.source = port;
	else
		ports.destination = port;
	if (is_icmp(packet)) {
		if (rewrite_echo(skb, packet, side, address, port))
			return -1;
	} else if (rewrite(skb, packet, side, address, ports)) {
		return -1;
	}
	if (side == SOURCE) {
		packet->source = *address;
		packet->source_port = port;
	} else {
		packet->destination = *address;
		packet->destination_port = port;
	}
	return 0;
}

SUBPROGRAM int translate(struct __sk_buff *skb, struct packet *packet GIVEN, const struct nat_key *key GIVEN,
			 struct nat *nat GIVEN)
{
	follow_nat(packet, key, nat);
	const struct node *node = this_node();
	bool asks = nat->flags & NAT_DIRECT && nat->flags & NAT_REPLY && packet->tcp_flags & TCP_SYN;
	if (asks && node && clamp_mss(skb, packet, node->overlay_mtu))
		return drop(REASON_rewrite_failed);
	if (rewrite_side(skb, packet, SOURCE, &nat->source, nat->source_port) ||
	    rewrite_side(skb, packet, DESTINATION, &nat->destination, nat->destination_port))
		return drop(REASON_rewrite_failed);
	return TRANSLATED;
}

/* Parses the quoted packet, an echo too. */
static __always_inline bool parse_nat_quote(struct __sk_buff *skb, const struct packet *outer, struct packet *quoted)
{
	int result = parse_ip(skb, quoted, outer->l4 + sizeof(struct icmp_header), outer->ipv6, QUOTED);
	if (result == TRUNCATED) {
		bpf_skb_pull_data(skb, skb->len < HEADER_BYTES ? skb->len : HEADER_BYTES);
		__builtin_memset(quoted, 0, sizeof(*quoted));
		result = parse_ip(skb, quoted, outer->l4 + sizeof(struct icmp_header), outer->ipv6, QUOTED);
	}
	return result == PARSED && quoted->fragment != LATER_FRAGMENT && has_nat_ports(skb, quoted);
}

/* The key of the answer to the quoted packet. */
static __always_inline struct nat_key nat_key_of_answer(const struct packet *quoted)
{
	return (struct nat_key){
		.source = quoted->destination,
		.destination = quoted->source,
		.source_port = quoted->destination_port,
		.destination_port = quoted->source_port,
		.protocol = quoted->protocol,
	};
}

/* Rewrites one end of the quoted packet, whatever it is. */
SUBPROGRAM int rewrite_nat_quote(struct __sk_buff *skb, const struct packet *outer GIVEN,
				 const struct packet *quoted GIVEN, const struct quote_change *change GIVEN)
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
		 bpf_skb_store_bytes(skb, echo_identifier(quoted), &new_port, sizeof(new_port), 0)));
}

/* One side of the quoted packet: its source becomes what the answers go to, its destination where they come from. */
static __always_inline int rewrite_quoted_side(struct __sk_buff *skb, const struct packet *outer, struct packet *quoted, bool side,
				   const struct nat *nat)
{
	__be16 port = side == SOURCE ? nat->destination_port : nat->source_port;
	struct quote_change change = {
		.address = side == SOURCE ? nat->destination : nat->source,
		.ports = { quoted->source_port, quoted->destination_port },
		.side = side,
	};
	if (side == SOURCE)
		change.ports.source = port;
	else
		change.ports.destination = port;
	if (rewrite_nat_quote(skb, outer, quoted, &change))
		return -1;
	if (side == SOURCE)
		quoted->source_port = port;
	else
		quoted->destination_port = port;
	return 0;
}

/* Whether an error's own source changes as that of the answers does: if it is from whoever would have answered, and if they
 * are hidden behind the node, as clients are from backends elsewhere. A router's own packet would not get past that router
 * once more, on its way there. */
static __always_inline bool changes_source(const struct packet *outer, const struct nat_key *answer, const struct nat *nat)
{
	return address_equal(&outer->source, &answer->source) ||
	       (!(nat->flags & NAT_REPLY) && !address_equal(&answer->source, &nat->source));
}

/* An ICMP error goes the way of the answers to the packet it quotes, so their translation is the one that it needs. From a
 * router it may keep its source. CONTINUE: it is about no packet of ours. */
SUBPROGRAM int translate_error(struct __sk_buff *skb, struct packet *outer GIVEN)
{
	struct packet quoted = {};
	if (!parse_nat_quote(skb, outer, &quoted))
		return CONTINUE;
	struct nat_key key = nat_key_of_answer(&quoted);
	struct nat *nat = find_nat(&key);
	if (!nat)
		return CONTINUE;
	bool changes = changes_source(outer, &key, nat);
	if (rewrite_quoted_side(skb, outer, &quoted, SOURCE, nat) ||
	    rewrite_quoted_side(skb, outer, &quoted, DESTINATION, nat) ||
	    (changes && rewrite_outer(skb, outer, SOURCE, &nat->source)) ||
	    rewrite_outer(skb, outer, DESTINATION, &nat->destination))
		return drop(REASON_rewrite_failed);
	if (changes)
		outer->source = nat->source;
	outer->destination = nat->destination;
	count(REASON_icmp_translated);
	return TRANSLATED;
}

/* This file contains the translation of ICMP errors: they quote a packet as it was on the wire, and the socket it
 * is about knows the other form. Without it path MTU discovery through a service address is blind. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stddef.h>

#include "flows.h"
#include "packet.h"
#include "rewrite.h"
#include "subprogram.h"
#include "verdict.h"

/* Of a flow's forms of the quoted packet, the one its reader knows. */
struct quote_change {
	struct address address; /* of the quoted packet's destination (forward) or source (reply) */
	struct ports ports;
	bool side; /* which of the quoted packet's addresses changes */
};

static __always_inline __u32 icmp_checksum(const struct packet *outer)
{
	return outer->l4 + offsetof(struct icmp_header, checksum);
}

/* Stores bytes that an ICMP checksum covers. `size` is 4 or 16. */
static __always_inline long store_quoted(struct __sk_buff *skb, const struct packet *outer, __u32 at,
					 const void *old, const void *new, __u32 size)
{
	__s64 difference = bpf_csum_diff((__be32 *)old, size, (__be32 *)new, size, 0);
	if (bpf_skb_store_bytes(skb, at, new, size, 0))
		return -1;
	return bpf_l4_csum_replace(skb, icmp_checksum(outer), 0, difference, 0);
}

/* Mends a checksum field inside the quote by `difference`, and the ICMP checksum for the field's own change. */
static __always_inline long mend_quoted_checksum(struct __sk_buff *skb, const struct packet *outer, __u32 at,
						 __s64 difference)
{
	__be16 before = 0, after = 0;
	if (bpf_skb_load_bytes(skb, at, &before, sizeof(before)))
		return 0; /* the quote ends before it: nothing to mend */
	if (bpf_l3_csum_replace(skb, at, 0, difference, 0) || bpf_skb_load_bytes(skb, at, &after, sizeof(after)))
		return -1;
	return bpf_l4_csum_replace(skb, icmp_checksum(outer), before, after, sizeof(before));
}

static __always_inline long mend_quoted_transport(struct __sk_buff *skb, const struct packet *outer,
						  const struct packet *quoted, __s64 difference)
{
	__u32 at = checksum_offset(quoted);
	if (!at)
		return 0;
	__be16 checksum = 0;
	if (quoted->protocol == IPPROTO_UDP &&
	    (bpf_skb_load_bytes(skb, at, &checksum, sizeof(checksum)) || checksum == 0))
		return 0;
	return mend_quoted_checksum(skb, outer, at, difference);
}

SUBPROGRAM int rewrite_quote(struct __sk_buff *skb, const struct packet *outer GIVEN, const struct packet *quoted GIVEN,
			     const struct quote_change *change GIVEN)
{
	const struct address *old = change->side == SOURCE ? &quoted->source : &quoted->destination;
	struct ports old_ports = { quoted->source_port, quoted->destination_port };
	struct ports new_ports = change->ports;
	__s64 of_address = bpf_csum_diff((__be32 *)old, sizeof(*old), (__be32 *)&change->address, sizeof(*old), 0);
	__s64 of_both = bpf_csum_diff((__be32 *)&old_ports, sizeof(old_ports), (__be32 *)&new_ports,
				      sizeof(new_ports), of_address);
	__u32 at = address_offset(quoted, change->side);
	long failed;

	if (quoted->ipv6) {
		failed = store_quoted(skb, outer, at, old, &change->address, sizeof(*old));
	} else {
		__be32 old_ipv4 = old->words[3], new_ipv4 = change->address.words[3];
		failed = mend_quoted_checksum(skb, outer, quoted->l3 + offsetof(struct iphdr, check), of_address) ||
			 store_quoted(skb, outer, at, &old_ipv4, &new_ipv4, sizeof(old_ipv4));
	}
	if (failed || store_quoted(skb, outer, quoted->l4, &old_ports, &new_ports, sizeof(new_ports)))
		return -1;
	return mend_quoted_transport(skb, outer, quoted, of_both);
}

/* The outer address: only the IP header's checksum, and ICMPv6's by its pseudo header. */
SUBPROGRAM int rewrite_outer(struct __sk_buff *skb, const struct packet *outer GIVEN, bool side,
			     const struct address *new GIVEN)
{
	const struct address *old = side == SOURCE ? &outer->source : &outer->destination;
	__u32 at = address_offset(outer, side);
	if (outer->ipv6)
		return mend_pseudo_header(skb, outer, icmp_checksum(outer), 0, old, new) ||
		       bpf_skb_store_bytes(skb, at, new, sizeof(*new), 0);
	return bpf_l3_csum_replace(skb, outer->l3 + offsetof(struct iphdr, check), old->words[3], new->words[3],
				   sizeof(__be32)) ||
	       bpf_skb_store_bytes(skb, at, &new->words[3], sizeof(__be32), 0);
}

static __always_inline int parse_quote(struct __sk_buff *skb, const struct packet *outer, struct packet *quoted)
{
	int result = parse_ip(skb, quoted, outer->l4 + sizeof(struct icmp_header), outer->ipv6, QUOTED);
	if (result == TRUNCATED) {
		/* The outer headers were linear, the quote is not. */
		bpf_skb_pull_data(skb, skb->len < HEADER_BYTES ? skb->len : HEADER_BYTES);
		__builtin_memset(quoted, 0, sizeof(*quoted));
		result = parse_ip(skb, quoted, outer->l4 + sizeof(struct icmp_header), outer->ipv6, QUOTED);
	}
	return result == PARSED && has_ports(quoted->protocol) && quoted->fragment != LATER_FRAGMENT ? PARSED : NOT_IP;
}

/* The key of the flow that would have the quoted packet's answer. */
static __always_inline struct flow_key key_of_answer(const struct packet *quoted, __u8 direction)
{
	return (struct flow_key){
		.source = quoted->destination,
		.destination = quoted->source,
		.source_port = quoted->destination_port,
		.destination_port = quoted->source_port,
		.protocol = quoted->protocol,
		.direction = direction,
	};
}

/* An error that reaches the client, about a packet it sent to the backend: it sent it to the service. From a router
 * it keeps its source; from the backend itself it comes from the service. */
SUBPROGRAM int translate_error_to_client(struct __sk_buff *skb, const struct packet *outer GIVEN)
{
	struct packet quoted = {};
	if (parse_quote(skb, outer, &quoted) != PARSED)
		return PASS;
	struct flow_key key = key_of_answer(&quoted, FLOW_REPLY);
	struct flow *flow = find_flow(&key);
	if (!flow || (flow->flags & FLOW_DIRECT && flow->client_port == quoted.source_port))
		return PASS;
	struct quote_change change = {
		.address = flow->address,
		.ports = { flow->client_port, flow->port },
		.side = DESTINATION,
	};
	bool from_backend = address_equal(&outer->source, &quoted.destination);
	if (rewrite_quote(skb, outer, &quoted, &change) ||
	    (from_backend && rewrite_outer(skb, outer, SOURCE, &change.address)))
		return drop(REASON_rewrite_failed);
	count(REASON_icmp_translated);
	return PASS;
}

/* An error the client sends, about a packet that came to it from the service: the backend sent it. The flow is for
 * the caller, who sees to the next hop. CONTINUE: the error is about no flow. */
SUBPROGRAM int translate_error_of_client(struct __sk_buff *skb, const struct packet *outer GIVEN,
					 struct flow_key *key GIVEN)
{
	struct packet quoted = {};
	if (parse_quote(skb, outer, &quoted) != PARSED)
		return CONTINUE;
	*key = key_of_answer(&quoted, FLOW_FORWARD);
	struct flow *flow = find_flow(key);
	if (!flow)
		return CONTINUE;
	struct quote_change change = {
		.address = flow->address,
		.ports = { flow->port, flow->client_port },
		.side = SOURCE,
	};
	bool to_service = address_equal(&outer->destination, &quoted.source);
	if (rewrite_quote(skb, outer, &quoted, &change) ||
	    (to_service && rewrite_outer(skb, outer, DESTINATION, &change.address)))
		return drop(REASON_rewrite_failed);
	count(REASON_icmp_translated);
	return PASS;
}

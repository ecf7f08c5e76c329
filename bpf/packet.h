/* This file contains the parser: what the programs want to know of a packet, and where its parts are. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "address.h"
#include "subprogram.h"

/* FRAGMENTS: */
#define WHOLE 0          /* not a fragment, or the only one (RFC 6946) */
#define FIRST_FRAGMENT 1 /* carries the ports */
#define LATER_FRAGMENT 2 /* carries no ports */

struct packet {
	struct address source;
	struct address destination;
	__be16 source_port; /* 0 where there are none */
	__be16 destination_port;
	__be32 identification; /* of a fragment */
	__u16 l3;              /* offset of the IP header */
	__u16 l4;              /* offset of the transport header */
	__u8 protocol;         /* of the transport */
	__u8 fragment;
	__u8 tcp_flags; /* byte 13 of the TCP header */
	__u8 icmp_type;
	bool ipv6;
};

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* linux/icmp.h needs the C library, which there is none of here. */
#define ICMP_DEST_UNREACH 3
#define ICMP_SOURCE_QUENCH 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_PARAMETERPROB 12
#define ICMP_PROT_UNREACH 2 /* code */
#define ICMP_PORT_UNREACH 3 /* code */
#define ICMP6_DEST_UNREACH 1
#define ICMP6_ADM_PROHIBITED 1 /* code */
#define ICMP6_PORT_UNREACH 4   /* code */
#define ICMP6_INFORMATIONAL 128 /* from this type on, no errors (RFC 4443 section 2.1) */

/* Alike in both families (RFC 792, RFC 4443). */
struct icmp_header {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be32 rest;
};

#define ETHERTYPE_VLAN 0x8100
#define ETHERTYPE_SERVICE_VLAN 0x88a8

/* Extension headers looked behind; senders use one or two. */
#define EXTENSION_HEADERS 6

/* Bytes made linear when the headers are not: Ethernet, two VLAN tags, IPv6, an ICMP error, the IPv6 packet it
 * quotes, TCP without options. */
#define HEADER_BYTES 192

/* RESULTS of parsing: */
#define PARSED 0
#define NOT_IP 1
#define TRUNCATED 2 /* addresses may be known all the same */

/* HOW MUCH of a packet there has to be: */
#define WITH_TRANSPORT false
#define QUOTED true /* in an ICMP error: 8 bytes of transport header are all one may hope for (RFC 792) */

static __always_inline bool has_ports(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_SCTP;
}

static __always_inline int parse_transport(struct packet *packet, void *data, void *end, __u32 at, bool quoted)
{
	at &= 0x3ff; /* known to every caller; said again for the verifier */
	packet->l4 = at;
	if (packet->fragment == LATER_FRAGMENT)
		return PARSED;
	void *l4 = data + at;
	if (has_ports(packet->protocol)) {
		__be16 *ports = l4;
		if ((void *)(ports + 4) > end)
			return TRUNCATED;
		packet->source_port = ports[0];
		packet->destination_port = ports[1];
		if (packet->protocol != IPPROTO_TCP || quoted)
			return PARSED;
		if (l4 + sizeof(struct tcphdr) > end)
			return TRUNCATED;
		packet->tcp_flags = ((__u8 *)l4)[13];
	} else if (packet->protocol == IPPROTO_ICMP || packet->protocol == IPPROTO_ICMPV6) {
		struct icmp_header *icmp = l4;
		if ((void *)(icmp + 1) > end)
			return TRUNCATED;
		packet->icmp_type = icmp->type;
	}
	return PARSED;
}

static __always_inline int parse_ipv4(struct packet *packet, void *data, void *end, __u32 at, bool quoted)
{
	struct iphdr *ip = data + at;
	if ((void *)(ip + 1) > end)
		return TRUNCATED;
	packet->source = address_of_ipv4(ip->saddr);
	packet->destination = address_of_ipv4(ip->daddr);
	packet->protocol = ip->protocol;
	if (ip->version != 4 || ip->ihl < 5)
		return TRUNCATED;
	__u16 place = bpf_ntohs(ip->frag_off);
	if (place & 0x3fff) { /* more fragments, or an offset */
		packet->fragment = place & 0x1fff ? LATER_FRAGMENT : FIRST_FRAGMENT;
		packet->identification = ip->id;
	}
	return parse_transport(packet, data, end, at + ip->ihl * 4, quoted);
}

struct extension {
	__u8 next;
	__u8 length;  /* of all but the fragment header: in units of 8 bytes, less the first */
	__be16 place; /* fragment header: offset, reserved bits, more fragments */
	__be32 identification;
};

static __always_inline int parse_ipv6(struct packet *packet, void *data, void *end, __u32 at, bool quoted)
{
	struct ipv6hdr *ip = data + at;
	if ((void *)(ip + 1) > end)
		return TRUNCATED;
	__builtin_memcpy(&packet->source, &ip->saddr, sizeof(packet->source));
	__builtin_memcpy(&packet->destination, &ip->daddr, sizeof(packet->destination));
	packet->ipv6 = true;
	if (ip->version != 6)
		return TRUNCATED;
	__u8 next = ip->nexthdr;
	at += sizeof(*ip);
	for (int i = 0; i <= EXTENSION_HEADERS; i++) {
		packet->protocol = next;
		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_FRAGMENT &&
		    next != IPPROTO_DSTOPTS)
			return parse_transport(packet, data, end, at, quoted);
		at &= 0x3ff;
		struct extension *extension = data + at;
		if ((void *)(extension + 1) > end)
			return TRUNCATED;
		if (next == IPPROTO_FRAGMENT) {
			at += sizeof(*extension); /* always 8 bytes: its second byte is reserved, not a length */
			__u16 place = bpf_ntohs(extension->place);
			packet->identification = extension->identification;
			if (place & ~7)
				packet->fragment = LATER_FRAGMENT;
			else if (place & 1)
				packet->fragment = FIRST_FRAGMENT;
		} else {
			at += (extension->length + 1) * 8;
		}
		next = extension->next;
		/* Behind a later fragment's header there is payload, whatever it looks like. */
		if (packet->fragment == LATER_FRAGMENT) {
			packet->protocol = next;
			return parse_transport(packet, data, end, at, quoted);
		}
	}
	return TRUNCATED;
}

/* Parses from an IP header on. `packet` is all zeros before. */
SUBPROGRAM int parse_ip(struct __sk_buff *skb, struct packet *packet GIVEN, __u32 l3, __u32 ipv6, __u32 quoted)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	l3 &= 0x3ff;
	packet->l3 = l3;
	return ipv6 ? parse_ipv6(packet, data, end, l3, quoted) : parse_ipv4(packet, data, end, l3, quoted);
}

static __always_inline int parse_frame(struct __sk_buff *skb, struct packet *packet)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	struct ethhdr *ethernet = data;
	if ((void *)(ethernet + 1) > end)
		return TRUNCATED;
	__u16 type = bpf_ntohs(ethernet->h_proto);
	__u32 l3 = sizeof(*ethernet);
	/* Tags that the device has not taken out of the frame. */
	for (int i = 0; i < 2 && (type == ETHERTYPE_VLAN || type == ETHERTYPE_SERVICE_VLAN); i++) {
		__be16 *tag = data + l3;
		if ((void *)(tag + 2) > end)
			return TRUNCATED;
		type = bpf_ntohs(tag[1]);
		l3 += 4;
	}
	if (type != ETH_P_IP && type != ETH_P_IPV6)
		return NOT_IP;
	return parse_ip(skb, packet, l3, type == ETH_P_IPV6, WITH_TRANSPORT);
}

/* Whether there are more bytes to look at now, up to so many of the frame. Pulling payload into the head of every large packet
 * would cost more than all the rest: it is for those whose headers are elsewhere. */
static __always_inline bool pull_headers(struct __sk_buff *skb, __u32 bytes)
{
	void *data = (void *)(long)skb->data;
	void *end = (void *)(long)skb->data_end;
	__u32 length = skb->len < bytes ? skb->len : bytes;
	return end - data < length && !bpf_skb_pull_data(skb, length);
}

static __always_inline int parse(struct __sk_buff *skb, struct packet *packet)
{
	int result = parse_frame(skb, packet);
	if (result != TRUNCATED || !pull_headers(skb, HEADER_BYTES))
		return result;
	__builtin_memset(packet, 0, sizeof(*packet));
	return parse_frame(skb, packet);
}

/* Whether an ICMP packet quotes the one it is about. */
static __always_inline bool is_icmp_error(const struct packet *packet)
{
	if (packet->fragment == LATER_FRAGMENT)
		return false; /* its type is not known, and 0 would be an error in ICMPv6 */
	if (packet->protocol == IPPROTO_ICMP && !packet->ipv6)
		return packet->icmp_type == ICMP_DEST_UNREACH || packet->icmp_type == ICMP_SOURCE_QUENCH ||
		       packet->icmp_type == ICMP_TIME_EXCEEDED || packet->icmp_type == ICMP_PARAMETERPROB;
	return packet->protocol == IPPROTO_ICMPV6 && packet->ipv6 && packet->icmp_type < ICMP6_INFORMATIONAL;
}

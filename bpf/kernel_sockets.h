/* This file contains what the kernel's own sockets say about a tuple. A pod's ordinary connections straight to a backend
 * need no entry in the flow table: their sockets are the record of them. Only what has no socket here (the packets of a
 * virtual machine, for instance) has to be written down. */
#pragma once

#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

#include "address.h"
#include "maps/flows.h"
#include "maps/sock_peers.h"
#include "packet.h"
#include "subprogram.h"

#define SOCK_STREAM 1 /* of the kernel's enum sock_type */

/* The ends of a packet as socket look-ups want them. Returns the size, which tells them the family. */
static __always_inline __u32 fill_tuple(struct bpf_sock_tuple *tuple, const struct address *source, __be16 source_port,
					const struct address *destination, __be16 destination_port)
{
	if (address_is_ipv4(source)) {
		tuple->ipv4.saddr = source->words[3];
		tuple->ipv4.daddr = destination->words[3];
		tuple->ipv4.sport = source_port;
		tuple->ipv4.dport = destination_port;
		return sizeof(tuple->ipv4);
	}
	__builtin_memcpy(tuple->ipv6.saddr, source, sizeof(tuple->ipv6.saddr));
	__builtin_memcpy(tuple->ipv6.daddr, destination, sizeof(tuple->ipv6.daddr));
	tuple->ipv6.sport = source_port;
	tuple->ipv6.dport = destination_port;
	return sizeof(tuple->ipv6);
}

/* Whether the pod has a TCP connection, also in TIME-WAIT, that the key's packets would come in for. */
SUBPROGRAM bool has_connection(struct __sk_buff *skb, const struct flow_key *key GIVEN)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = fill_tuple(&tuple, &key->source, key->source_port, &key->destination, key->destination_port);
	struct bpf_sock *socket = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return false;
	/* A listening socket is found for any client, and is a connection with none. */
	bool connection = socket->state != BPF_TCP_LISTEN;
	bpf_sk_release(socket);
	return connection;
}

/* Whether a UDP socket of the pod would take the key's packets. */
SUBPROGRAM bool has_udp_socket(struct __sk_buff *skb, const struct flow_key *key GIVEN)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size = fill_tuple(&tuple, &key->source, key->source_port, &key->destination, key->destination_port);
	struct bpf_sock *socket = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return false;
	bpf_sk_release(socket);
	return true;
}

/* Not by a raw socket, which is the record of nothing. */
static __always_inline bool sent_by_tcp_socket(struct __sk_buff *skb)
{
	struct bpf_sock *socket = skb->sk;
	if (!socket)
		return false;
	socket = bpf_sk_fullsock(socket);
	return socket && socket->protocol == IPPROTO_TCP && socket->type == SOCK_STREAM;
}

/* Whether the packet's socket has this backend from the socket programs. */
SUBPROGRAM bool is_peer_of_socket(struct __sk_buff *skb, const struct address *address GIVEN, __be16 port)
{
	struct sock_peer_key key = {
		.cookie = bpf_get_socket_cookie(skb),
		.address = *address,
		.port = port,
		.side = PEER_OF_BACKEND,
	};
	return key.cookie && bpf_map_lookup_elem(&tb_sock_peers, &key);
}

/* This file contains the program at tc ingress of a pod's eth0, where replies of backends become the service's. */
#include "fragments.h"
#include "icmp.h"
#include "packet.h"
#include "reply.h"
#include "subprogram.h"
#include "verdict.h"

static __always_inline bool is_backend_address(const struct address *address)
{
	struct endpoint key = { .address = *address };
	return bpf_map_lookup_elem(&tb_endpoints, &key);
}

static __always_inline bool has_connection(struct __sk_buff *skb, const struct packet *packet)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size;
	if (packet->ipv6) {
		__builtin_memcpy(tuple.ipv6.saddr, &packet->source, sizeof(tuple.ipv6.saddr));
		__builtin_memcpy(tuple.ipv6.daddr, &packet->destination, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.sport = packet->source_port;
		tuple.ipv6.dport = packet->destination_port;
		size = sizeof(tuple.ipv6);
	} else {
		tuple.ipv4.saddr = packet->source.words[3];
		tuple.ipv4.daddr = packet->destination.words[3];
		tuple.ipv4.sport = packet->source_port;
		tuple.ipv4.dport = packet->destination_port;
		size = sizeof(tuple.ipv4);
	}
	struct bpf_sock *socket = bpf_skc_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!socket)
		return false;
	bpf_sk_release(socket);
	return true;
}

/* A reply whose flow has gone must not reach the client: it knows no such connection and would answer with a RST,
 * which ends one that the next packet of the client could have taken up again. What opens a connection is no reply,
 * and what belongs to a connection straight to the backend has a socket. */
SUBPROGRAM int without_flow(struct __sk_buff *skb, const struct packet *packet)
{
	if (packet->protocol != IPPROTO_TCP || (packet->tcp_flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
		return PASS;
	struct endpoint source = source_of(packet);
	if (!bpf_map_lookup_elem(&tb_endpoints, &source) || has_connection(skb, packet))
		return PASS;
	return drop(REASON_reply_without_flow);
}

SEC("tc/ingress")
int tb_eth0_ingress(struct __sk_buff *skb)
{
	struct packet packet = {};
	if (parse(skb, &packet) != PARSED)
		return PASS;
	if (packet.fragment != WHOLE && is_backend_address(&packet.source)) {
		int verdict = find_ports(skb, &packet, FLOW_REPLY);
		if (verdict != CONTINUE)
			return verdict;
	}
	if (is_icmp_error(&packet))
		return translate_error_to_client(skb, &packet);
	int verdict = reply(skb, &packet);
	return verdict == CONTINUE ? without_flow(skb, &packet) : verdict;
}

char _license[] SEC("license") = "GPL";

/* This file contains the program at tc egress of a pod's eth0, where its packets to services are given a backend. */
#include "forward.h"
#include "fragments.h"
#include "icmp.h"
#include "next_hop.h"
#include "packet.h"
#include "subprogram.h"
#include "verdict.h"

/* The client tells somebody of an error with a packet it was sent. */
SUBPROGRAM int forward_error(struct __sk_buff *skb, const struct packet *packet GIVEN)
{
	struct flow_key key = {};
	bool to_service = service_address(&packet->destination);
	int verdict = translate_error_of_client(skb, packet, &key);
	if (verdict == CONTINUE)
		return to_service ? drop(REASON_icmp_without_flow) : PASS;
	struct flow *flow = find_flow(&key);
	if (verdict != PASS || !flow || !to_service)
		return verdict;
	return flow->flags & FLOW_SELF ? to_self(skb) : to_next_hop(skb, packet, flow, false);
}

static __always_inline bool is_to_service(const struct packet *packet)
{
	struct service *address = service_address(&packet->destination);
	return address && !(address->flags & SERVICE_SHARED_ADDRESS);
}

SEC("tc/egress")
int tb_eth0_egress(struct __sk_buff *skb)
{
	struct packet packet = {};
	if (comes_again(skb))
		return PASS;
	switch (parse(skb, &packet)) {
	case NOT_IP:
		return PASS;
	case TRUNCATED:
		return is_to_service(&packet) ? drop(REASON_malformed) : PASS;
	}
	if (packet.fragment != WHOLE && service_address(&packet.destination)) {
		int verdict = find_ports(skb, &packet, FLOW_FORWARD);
		if (verdict != CONTINUE)
			return verdict;
	}
	if (is_icmp_error(&packet))
		return forward_error(skb, &packet);
	return forward(skb, &packet);
}

char _license[] SEC("license") = "GPL";

/* This file contains the program at tc ingress of the uplink, where packets come to the node from the network. */
#include "arrival.h"
#include "decapsulation.h"
#include "packet.h"
#include "tunnelled.h"
#include "verdict.h"

SEC("tc/ingress")
int tb_uplink_in(struct __sk_buff *skb)
{
	struct packet packet = {};
	pull_headers(skb, sizeof(struct tunnelled));
	if (is_tunnel_of(skb, INGRESS))
		return leave_tunnel(skb);
	if (parse(skb, &packet) != PARSED || !is_for_router(skb, &packet))
		return PASS;
	struct way *way = known_way(skb, &packet, 0);
	if (way)
		return take_way(skb, &packet, way);
	return arrive(skb, &packet, 0);
}

char _license[] SEC("license") = "GPL";

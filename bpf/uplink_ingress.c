/* This file contains the program at tc ingress of the uplink, where packets come to the node from the network. */
#include "arrival.h"
#include "packet.h"
#include "verdict.h"

SEC("tc/ingress")
int tb_uplink_in(struct __sk_buff *skb)
{
	struct packet packet = {};
	if (parse(skb, &packet) != PARSED || !is_for_router(skb, &packet))
		return PASS;
	return arrive(skb, &packet, true);
}

char _license[] SEC("license") = "GPL";

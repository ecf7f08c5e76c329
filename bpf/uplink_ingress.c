/* This file contains the program at tc ingress of the uplink, where packets come to the node from the network. */
#include "local_pod.h"
#include "node_services.h"
#include "packet.h"
#include "verdict.h"

SEC("tc/ingress")
int tb_uplink_in(struct __sk_buff *skb)
{
	struct packet packet = {};
	if (parse(skb, &packet) != PARSED || !is_for_router(skb, &packet))
		return PASS;
	int verdict = from_outside(skb, &packet);
	if (verdict == CONTINUE)
		verdict = to_local_pod(skb, &packet);
	return verdict == CONTINUE ? PASS : verdict;
}

char _license[] SEC("license") = "GPL";

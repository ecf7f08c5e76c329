/* This file contains the program at tc egress of a pod's host end, where the stack hands it packets: those that have not
 * been delivered past it. */
#include "packet.h"
#include "stack_flows.h"
#include "verdict.h"

SEC("tc/egress")
int tb_host_egress(struct __sk_buff *skb)
{
	struct packet packet = {};
	/* Answers to the node's own packets go to the node in any case. */
	if (skb->ingress_ifindex && parse(skb, &packet) == PARSED)
		note_stack_flow(&packet);
	return PASS;
}

char _license[] SEC("license") = "GPL";

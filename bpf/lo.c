/* This file contains the program at tc egress of a pod's lo: the pod talks to itself, by way of a service or straight.
 * Both look alike here, client port to server port of one address, and only the flow table tells them apart. */
#include "forward.h"
#include "icmp.h"
#include "packet.h"
#include "reply.h"
#include "verdict.h"

SEC("tc/egress")
int tb_lo(struct __sk_buff *skb)
{
	struct packet packet = {};
	if (parse(skb, &packet) != PARSED)
		return PASS;
	/* A service's packets to the pod itself come from the pod's own address: 127.0.0.1 and everything else on lo is
	 * not ours. */
	if (!address_equal(&packet.source, &packet.destination) || packet.fragment != WHOLE)
		return PASS;
	if (is_icmp_error(&packet))
		return translate_error_to_client(skb, &packet);
	int verdict = reply(skb, &packet);
	return verdict == CONTINUE ? forward(skb, &packet) : verdict;
}

char _license[] SEC("license") = "GPL";

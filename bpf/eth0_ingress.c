/* This file contains the program at tc ingress of a pod's eth0, where replies of backends become the service's. */
#include "fragments.h"
#include "icmp.h"
#include "packet.h"
#include "reply.h"
#include "verdict.h"

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
	return verdict == CONTINUE ? PASS : verdict;
}

char _license[] SEC("license") = "GPL";

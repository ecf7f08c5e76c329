/* This file contains the program at tc ingress of a pod's host end, where its packets come to the node. */
#include "leave.h"
#include "packet.h"
#include "pods.h"
#include "spoofing.h"
#include "stack_flows.h"
#include "verdict.h"

SEC("tc/ingress")
int tb_host_ingress(struct __sk_buff *skb)
{
	struct packet packet = {};
	int parsed = parse(skb, &packet);
	if (parsed == NOT_IP)
		return to_stack(REASON_stack_not_ip);
	if (parsed == PARSED && is_for_router(skb, &packet)) {
		struct way *way = known_way(skb, &packet, 0);
		if (way)
			return take_way(skb, &packet, way);
	}
	const struct pod *sender = find_pod(&packet.source);
	int verdict = check_source(skb, &packet, sender);
	if (verdict != CONTINUE)
		return verdict;
	if (parsed == TRUNCATED)
		return to_stack(REASON_stack_malformed);
	if (!is_for_router(skb, &packet))
		return to_stack(REASON_stack_not_ip);
	if (stays_on_link(&packet))
		return to_stack(REASON_stack_on_link);
	if (sender && answers_stack(&packet, sender))
		return to_stack(REASON_stack_flow);
	/* Whoever has to see the packets of this pod has to see those to its neighbours too. */
	if (sender && sender->flags & POD_STACK)
		return to_stack(REASON_stack_pod);
	return leave(skb, &packet, true);
}

char _license[] SEC("license") = "GPL";

/* This file contains the way from a frontend to a backend: which service an address and port is, and which of
 * its backends takes a new flow. */
#pragma once

#include <linux/in.h>
#include <bpf/bpf_helpers.h>

#include "address.h"
#include "maps/affinity.h"
#include "maps/backends.h"
#include "maps/endpoint.h"
#include "maps/services.h"
#include "subprogram.h"

/* Slots tried when one names a backend that has just gone: more than one only during an update. */
#define CHOICE_TRIES 4

/* Whether the address is a service's at all. */
static __always_inline struct service *service_address(const struct address *address)
{
	struct endpoint key = { .address = *address };
	return bpf_map_lookup_elem(&tb_services, &key);
}

static __always_inline struct service *find_service(const struct endpoint *frontend)
{
	return bpf_map_lookup_elem(&tb_services, frontend);
}

static __always_inline struct backend *find_backend(__u32 number)
{
	return number == 0 ? NULL : bpf_map_lookup_elem(&tb_backends, &number);
}

/* Who wants a backend. */
struct client {
	struct address address;
	__u32 seed; /* tells flows of one client apart: its port, or what stands for one at the socket */
};

static __always_inline __u32 rotate(__u32 value, int bits)
{
	return value << bits | value >> (32 - bits);
}

/* MurmurHash3's round: alike on every node, so that any of them finds the same ring entry. */
static __always_inline __u32 mix(__u32 hash, __u32 word)
{
	return rotate(hash ^ rotate(word * 0xcc9e2d51, 15) * 0x1b873593, 13) * 5 + 0xe6546b64;
}

static __always_inline __u32 mix_address(__u32 hash, const struct address *address)
{
	for (int i = 0; i < 4; i++)
		hash = mix(hash, address->words[i]);
	return hash;
}

static __always_inline __u32 hash_flow(const struct endpoint *frontend, const struct client *client, bool with_seed)
{
	__u32 hash = mix_address(0, &client->address);
	hash = mix_address(hash, &frontend->address);
	hash = mix(hash, (__u32)frontend->port << 16 | frontend->protocol);
	/* With affinity, all flows of a client are one. */
	hash = mix(hash, with_seed ? client->seed : 0);
	hash ^= hash >> 16;
	hash *= 0x85ebca6b;
	hash ^= hash >> 13;
	hash *= 0xc2b2ae35;
	return hash ^ hash >> 16;
}

static __always_inline __u32 backend_of_ring(const struct service *service, const struct endpoint *frontend,
					     const struct client *client)
{
	__u32 number = service->number;
	void *ring = bpf_map_lookup_elem(&tb_maglev, &number);
	if (!ring)
		return 0;
	__u32 entry = hash_flow(frontend, client, !(service->flags & SERVICE_AFFINITY)) % MAGLEV_RING;
	__u32 *backend = bpf_map_lookup_elem(ring, &entry);
	return backend ? *backend : 0;
}

static __always_inline __u32 backend_of_slots(const struct service *service)
{
	struct slot slot = {
		.service = service->number,
		.generation = service->generation,
		.index = bpf_get_prandom_u32() % service->count,
	};
	__u32 *backend = bpf_map_lookup_elem(&tb_slots, &slot);
	return backend ? *backend : 0;
}

static __always_inline __u32 backend_of_affinity(const struct service *service, const struct client *client)
{
	struct affinity_key key = { .client = client->address, .service = service->number };
	struct affinity *affinity = bpf_map_lookup_elem(&tb_affinity, &key);
	if (!affinity)
		return 0;
	__u64 timeout = service->affinity_seconds * 1000000000ULL;
	if (affinity->used_ns + timeout <= bpf_ktime_get_ns())
		return 0;
	/* Not one that has left the service, nor one that is leaving. */
	struct backend *backend = find_backend(affinity->backend);
	if (!backend || backend->state != BACKEND_ACTIVE || backend->service != service->number)
		return 0;
	return affinity->backend;
}

static __always_inline void remember_affinity(const struct service *service, const struct client *client, __u32 backend)
{
	struct affinity_key key = { .client = client->address, .service = service->number };
	struct affinity affinity = { .used_ns = bpf_ktime_get_ns(), .backend = backend };
	bpf_map_update_elem(&tb_affinity, &key, &affinity, BPF_ANY);
}

/* The number of the backend that takes a new flow; 0: there is none. The service entry is looked up again for
 * every try: when the slots of one generation are gone, the entry names the next. */
SUBPROGRAM __u32 choose_backend(const struct endpoint *frontend GIVEN, const struct client *client GIVEN)
{
	__u32 number = 0;
	for (int try = 0; try < CHOICE_TRIES; try++) {
		struct service *service = find_service(frontend);
		if (!service || service->count == 0)
			return 0;
		if (try == 0 && service->flags & SERVICE_AFFINITY)
			number = backend_of_affinity(service, client);
		if (!number && try == 0 && service->flags & SERVICE_MAGLEV)
			number = backend_of_ring(service, frontend, client);
		if (!number)
			number = backend_of_slots(service);
		struct backend *backend = find_backend(number);
		if (backend && backend->state != BACKEND_NONE && backend->service == service->number) {
			if (service->flags & SERVICE_AFFINITY)
				remember_affinity(service, client, number);
			return number;
		}
		number = 0;
	}
	return 0;
}

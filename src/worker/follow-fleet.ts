import type { Fleet } from '../upstream/fleet.ts';
import type { Feed } from './feed.ts';
import type { Seat } from './seat.ts';

/** Tells the threads what changes in the fleet. Returns a function that ends it. */
export function followFleet(fleet: Fleet, seats: readonly Seat[]): () => void {
  const tell = (call: (feed: Feed) => void): void => {
    for (const { feed } of seats) if (feed) call(feed);
  };
  return fleet.listen({
    serviceAdded: (service) => {
      tell((feed) => {
        feed.serviceChanged(service);
      });
    },
    policyChanged: (service) => {
      tell((feed) => {
        feed.serviceChanged(service);
      });
    },
    serviceDropped: (service) => {
      tell((feed) => {
        feed.serviceDropped(service);
      });
    },
    added: (member) => {
      tell((feed) => {
        feed.memberChanged(member);
      });
    },
    updated: (member) => {
      tell((feed) => {
        feed.memberChanged(member);
      });
    },
    freed: (member) => {
      tell((feed) => {
        feed.memberFreed(member);
      });
    },
    viewChanged: (service) => {
      tell((feed) => {
        feed.viewChanged(service);
      });
    },
    // Whoever leaves the rotation must not keep requests that could be answered elsewhere.
    transition: (member, gate, _from, to) => {
      // Where the registry alone is trusted, a failing probe takes nobody out.
      const heeded = member.service.policy.availability.mode !== 'trust-registry';
      const failed = gate === 'probe' && to === 'failing' && heeded;
      const out = failed || (gate === 'breaker' && to === 'open') || to === 'ejected';
      if (out) for (const seat of seats) seat.tell({ type: 'moveOff', slot: member.slot });
    },
  });
}

import { z } from 'zod';
import {
  adminSchema,
  gatewaySchema,
  logSchema,
  metricsSchema,
  shutdownSchema,
  workersSchema,
} from './gateway-schema.ts';
import { defaultsSchema, serviceSchema } from './policy-schema.ts';
import { registriesSchema } from './registry-schema.ts';
import { nameText, wants } from './scalars.ts';
import { group } from './strict.ts';

const elsewhere = new Map([
  ...['balancer', 'health', 'breaker', 'retry', 'availability', 'hang'].map(
    (key) => [key, 'belongs under `defaults`, or under a service'] as const,
  ),
  ...['listen', 'domain', 'accessLog', 'limits', 'trustedProxies'].map(
    (key) => [key, 'belongs under `gateway`'] as const,
  ),
]);

/**
 * The whole file. Its input type is what `config/fairlead.schema.json` says; what comes out is nearly a `Config`, but
 * that services have to be merged over `defaults` before they are validated: see load.ts.
 */
export const configSchema = group(
  {
    gateway: gatewaySchema,
    workers: workersSchema,
    admin: adminSchema,
    registries: registriesSchema,
    defaults: defaultsSchema.meta({ description: 'The policy of every service; a service overrides any part of it.' }),
    services: z
      .record(nameText(), serviceSchema, { error: wants('a map from service names to their policies') })
      .prefault({})
      .meta({
        description:
          'Services with a policy or host names of their own. Every other registered service has that of `defaults`.',
      }),
    shutdown: shutdownSchema,
    log: logSchema,
    metrics: metricsSchema,
  },
  elsewhere,
);

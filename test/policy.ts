import type { ServicePolicy } from '../src/core/policy.ts';
import { load } from './config/load-text.ts';

/** The defaults that operators get, without checks. */
export const POLICY: ServicePolicy = { ...load('').defaultPolicy, checks: [] };

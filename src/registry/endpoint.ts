import { RegistryUnreachable, type RegistryLabel } from './network-fault.ts';

/** The address of a server, from the configuration. Throws `RegistryUnreachable` where the text is none. */
export function parseEndpoint(text: string, label: RegistryLabel): URL {
  const url = URL.parse(text);
  if (url && (url.protocol === 'http:' || url.protocol === 'https:') && url.search === '' && url.hash === '')
    return url;
  const why = `that is no address; write registries[].${label.addressSetting} like http://host:port`;
  throw new RegistryUnreachable(label, JSON.stringify(text), { fault: 'unresolved', text: why });
}

/** How messages name it: credentials inside the address stay out. */
export function endpointName(url: URL): string {
  return url.origin + url.pathname.replace(/\/$/, '');
}

/** Where the registry says what an operator should know. Called rarely: damage, failures and their end, never per request. */
export type RegistryLog = (
  level: 'info' | 'warn' | 'error',
  message: string,
  fields: Readonly<Record<string, string | number>>,
) => void;

/** One line about an error, with the system's own code where it has one. */
export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

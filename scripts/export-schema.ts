import { readFileSync, writeFileSync } from 'node:fs';
import { editorSchema, withTables } from './config-reference.ts';

// What is derived from the configuration's schema: the JSON Schema for editors, and the tables of the documentation.
const schemaFile = new URL('../config/fairlead.schema.json', import.meta.url);
const page = new URL('../docs/configuration.md', import.meta.url);

writeFileSync(schemaFile, `${JSON.stringify(editorSchema(), null, 2)}\n`);
writeFileSync(page, withTables(readFileSync(page, 'utf8')));

// The types of testing.mjs.
import { Event, type Field } from "./trommel.js";

interface Request {
  api: string | null;
  method: string;
  path: string;
  headers: [name: string, value: string][];
  body: Uint8Array | null;
}

export const router: {
  lines: { level: string; message: string; fields: Record<string, string> }[];
  measures: [metric: string, value: number][];
  annotations: [name: string, value: string][];
  state: Map<string, Uint8Array>;
  api: (request: Request) => { status?: number; headers?: [name: string, value: string][]; body?: string | Uint8Array };
};

export function event(payload: unknown, fields?: Partial<Record<Field, string | number>>): Event;

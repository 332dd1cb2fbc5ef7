import {z} from 'zod'
import type {JsonObject} from '../log/eventLog.ts'
import {canonicalJson} from './canonicalJson.ts'
import type {SealedRecord} from './leaf.ts'

const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/

/** Not copied as zod copies an object, which would lose a key like `__proto__`. */
const jsonObject = z.custom<JsonObject>((value) => typeof value === 'object' && value !== null && !Array.isArray(value))

/**
 * An event as CloudEvents 1.0 has it, in structured JSON. `revision` and `metadata` are extension attributes, which may not
 * be objects: so the metadata is a string of JSON. Data is as stored, with what is sealed for people still sealed.
 */
const CloudEvent = z.object({
  specversion: z.literal('1.0'),
  id: z.string().regex(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/),
  source: z.string().startsWith('urn:uuid:'),
  type: z.string().min(1),
  subject: z.string().min(1),
  time: z.string().optional(),
  datacontenttype: z.literal('application/json'),
  revision: z.int().min(0),
  metadata: z.string(),
  data: jsonObject,
})
export type CloudEvent = z.infer<typeof CloudEvent>

export const sourceOf = (logIdentity: string): string => `urn:uuid:${logIdentity}`

export const cloudEventOf = (record: SealedRecord, logIdentity: string): CloudEvent => {
  const {id, type, stream, revision, data, metadata} = record
  if (!jsonObject.safeParse(data).success || !jsonObject.safeParse(metadata).success)
    throw new TypeError(`event ${id} (revision ${revision} of ${stream}) holds no objects: it was changed in the store`)
  const {time} = metadata
  return {
    specversion: '1.0',
    id,
    source: sourceOf(logIdentity),
    type,
    subject: stream,
    ...(typeof time === 'string' && RFC3339.test(time) && {time}),
    datacontenttype: 'application/json',
    revision,
    metadata: canonicalJson(metadata),
    data,
  }
}

/** One line, whatever reads it: some take U+2028 and U+2029 for the end of one. */
export const lineOf = (event: CloudEvent): string =>
  JSON.stringify(event).replaceAll('\u2028', '\\u2028').replaceAll('\u2029', '\\u2029')

/** What an export's line says, or why it is none: nothing in it is lost, so that it is what an export gives again. */
export const recordIn = (line: string): {record: SealedRecord; source: string} | {wrong: string} => {
  let json: unknown
  try {
    json = JSON.parse(line)
  } catch {
    return {wrong: 'it is not JSON, or was cut off'}
  }
  const event = CloudEvent.safeParse(json)
  if (!event.success) return {wrong: z.prettifyError(event.error).replace(/\s+/g, ' ')}
  const {id, type, subject: stream, revision, data, source} = event.data
  try {
    const metadata = jsonObject.parse(JSON.parse(event.data.metadata))
    const record = {stream, revision, id, type, data, metadata}
    // What has no canonical form could not be sealed.
    canonicalJson(record)
    const said = json as {[attribute: string]: unknown}
    const written: typeof said = cloudEventOf(record, source.slice(sourceOf('').length))
    const strange = Object.keys({...written, ...said}).filter((attribute) => said[attribute] !== written[attribute])
    if (strange.length > 0) return {wrong: `an export of this event says otherwise, or nothing, for ${strange.join()}`}
    return {record, source}
  } catch (error) {
    return {wrong: `its data or metadata is none that a log can hold: ${(error as Error).message}`}
  }
}

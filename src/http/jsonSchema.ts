import {z} from 'zod'

export type JsonSchema = {[keyword: string]: unknown}

/**
 * A zod schema as JSON Schema 2020-12: what is sent to us (`input`), or what we answer (`output`). Shapes that bear an id
 * are put into `components` and referred to. `meta({json})` says it where a check is more than JSON Schema can tell.
 */
export const jsonSchemaOf = (
  shape: z.ZodType,
  io: 'input' | 'output',
  components: {[id: string]: JsonSchema},
): JsonSchema => {
  const {
    $schema: _,
    $defs,
    ...schema
  } = z.toJSONSchema(shape, {
    io,
    unrepresentable: 'any',
    override: ({jsonSchema}) => {
      // An answer may get further fields in time, so a client must not count on there being none.
      if (jsonSchema.additionalProperties === false) delete jsonSchema.additionalProperties
      const {json, description, default: preset} = jsonSchema as JsonSchema
      if (json === undefined) return
      for (const key of Object.keys(jsonSchema)) delete jsonSchema[key as never]
      Object.assign(jsonSchema, json, description && {description}, preset !== undefined && {default: preset})
    },
  }) as JsonSchema & {$defs?: {[id: string]: JsonSchema}}
  for (const [id, definition] of Object.entries($defs ?? {})) components[id] = referring(definition) as JsonSchema
  return referring(schema) as JsonSchema
}

const referring = (node: unknown): unknown => {
  if (Array.isArray(node)) return node.map(referring)
  if (typeof node !== 'object' || node === null) return node
  return Object.fromEntries(
    Object.entries(node).map(([key, value]) => [
      key,
      key === '$ref' && typeof value === 'string'
        ? value.replace('#/$defs/', '#/components/schemas/')
        : referring(value),
    ]),
  )
}

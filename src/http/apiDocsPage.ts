import type {JsonSchema} from './jsonSchema.ts'
import type {EventObject, OpenApi, Operation, Parameter, ResponseObject} from './openapi.ts'

/** Text that is HTML already. */
type Html = {html: string}

const escaped = (value: string): string =>
  value.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')

type Part = Html | string | number | readonly Part[]
const toHtml = (part: Part): string => {
  if (typeof part === 'string' || typeof part === 'number') return escaped(String(part))
  return 'html' in part ? part.html : part.map(toHtml).join('')
}

/** What is put in is escaped. */
const html = (strings: TemplateStringsArray, ...parts: Part[]): Html => ({
  html: strings.reduce((whole, string, index) => whole + toHtml(parts[index - 1]!) + string),
})

const NONE = html``

/** Paragraphs, and code between backticks. */
const prose = (text: string): Html[] =>
  text.split(/\n\s*\n/).map((paragraph) => {
    const pieces = paragraph.split('`')
    return html`<p>${pieces.map((piece, index) => (index % 2 === 1 ? html`<code>${piece}</code>` : piece))}</p>`
  })

const line = (text: unknown): Html => (typeof text === 'string' && text !== '' ? html`<dd>${prose(text)}</dd>` : NONE)

const refOf = (schema: JsonSchema): string | null =>
  typeof schema.$ref === 'string' ? schema.$ref.replace('#/components/schemas/', '') : null

const range = (least: unknown, most: unknown, unit: string): string => {
  const [from, to] = [least, most].map((limit) => (typeof limit === 'number' ? limit.toLocaleString('en') : undefined))
  if (from !== undefined && to !== undefined) return `, ${from} to ${to}${unit}`
  if (from !== undefined) return `, at least ${from}${unit}`
  return to === undefined ? '' : `, at most ${to}${unit}`
}

const isUnbounded = (limit: unknown): boolean => typeof limit === 'number' && Math.abs(limit) >= Number.MAX_SAFE_INTEGER

/** The type in words. */
const typeOf = (schema: JsonSchema): Html => {
  const ref = refOf(schema)
  if (ref !== null) return html`<a href="#${ref}">${ref}</a>`
  const either = (schema.anyOf ?? schema.oneOf) as JsonSchema[] | undefined
  if (either) return html`${either.map((one, index) => [index > 0 ? ' or ' : '', typeOf(one)])}`
  if (schema.const !== undefined) return html`<code>${JSON.stringify(schema.const)}</code>`
  if (Array.isArray(schema.enum)) {
    return html`${schema.enum.map((value, index) => [index > 0 ? ' or ' : '', html`<code>${JSON.stringify(value)}</code>`])}`
  }
  const type = [schema.type].flat().join(' or ')
  const {minLength, maxLength, minimum, maximum, maxItems, items, format, default: preset} = schema
  const limits = [
    range(minLength, maxLength, ' characters'),
    range(isUnbounded(minimum) ? undefined : minimum, isUnbounded(maximum) ? undefined : maximum, ''),
    range(undefined, maxItems, ' items'),
    format === undefined ? '' : `, ${format}`,
    preset === undefined ? '' : `, else ${JSON.stringify(preset)}`,
  ].join('')
  if (items !== undefined) return html`list of ${typeOf(items as JsonSchema)}${limits}`
  return html`${type === '' ? 'anything' : type}${limits}`
}

/** Each field by its path; what is a shape with a name is told there. */
const fieldsOf = (schema: JsonSchema, before = ''): {name: string; schema: JsonSchema; required: boolean}[] => {
  const required = (schema.required ?? []) as string[]
  const properties = Object.entries((schema.properties ?? {}) as {[name: string]: JsonSchema})
  return properties.flatMap(([name, field]) => {
    const path = `${before}${name}`
    const inner = field.type === 'array' ? (field.items as JsonSchema) : field
    const below = fieldsOf(inner, field.type === 'array' ? `${path}[].` : `${path}.`)
    return [{name: path, schema: field, required: required.includes(name)}, ...below]
  })
}

const field = (name: string, schema: JsonSchema, required: boolean, description: unknown): Html => html`
<div><dt><code>${name}</code> <span class="type">${typeOf(schema)}</span>${required ? html` <strong>required</strong>` : ''}</dt>${line(description)}</div>`

/** The fields of an object; of a list, what is in it. `marks`: whether it is said which are required. */
const fields = (schema: JsonSchema, marks: boolean): Html => {
  const listed = fieldsOf(schema)
  if (listed.length === 0) return html`<p class="type">${typeOf(schema)}</p>`
  return html`<dl>${listed.map(({name, schema, required}) => field(name, schema, marks && required, schema.description))}</dl>`
}

const WHERE = {path: 'In the path', query: 'In the query', header: 'Headers'} as const

const parameters = (all: Parameter[], where: Parameter['in']): Html => {
  const here = all.filter((one) => one.in === where)
  if (here.length === 0) return NONE
  const required = (one: Parameter) => one.required && where !== 'path'
  return html`<h4>${WHERE[where]}</h4><dl>${here.map((one) => field(one.name, one.schema, required(one), one.description))}</dl>`
}

const isError = (schema: JsonSchema): boolean => Array.isArray(schema.allOf)

const answer = ([status, {description, content, headers}]: [string, ResponseObject]): Html => {
  const [type, media] = Object.entries(content ?? {})[0] ?? []
  const own = Object.keys(headers ?? {}).filter((name) => name !== 'X-Request-Id')
  const schema = media?.schema
  const body = !schema || isError(schema) ? NONE : type === 'application/json' ? fields(schema, false) : NONE
  const types =
    schema && type !== 'application/json' ? html`<p class="type">${Object.keys(content!).join(', ')}</p>` : NONE
  const sent = own.length > 0 ? html`<p class="type">With ${own.join(', ')}.</p>` : NONE
  return html`<div><dt><code>${status}</code></dt><dd>${prose(description)}${sent}${types}${body}</dd></div>`
}

const AUTH = {
  none: 'For everybody.',
  session: 'For everybody; with a session.',
  person: 'For who is signed in, and for bots.',
} as const

const authOf = ({security}: Operation): string => {
  if (security.length === 0) return AUTH.none
  return security.some((one) => Object.keys(one).length === 0) ? AUTH.session : AUTH.person
}

const bodyOf = ({requestBody}: Operation): Html => {
  if (!requestBody) return NONE
  const [type, {schema}] = Object.entries(requestBody.content)[0]!
  return html`<h4>Body <span class="type">${type}</span></h4>${fields(schema, true)}`
}

const operation = (path: string, method: string, one: Operation): Html => html`
<article id="${one.operationId}">
<h3><span class="method ${method}">${method.toUpperCase()}</span> <code>${path}</code></h3>
<p class="summary">${one.summary}. <span class="type">${authOf(one)}</span></p>
${one.description ? prose(one.description) : ''}
${(['path', 'query', 'header'] as const).map((where) => parameters(one.parameters, where))}
${bodyOf(one)}
<h4>Answers</h4>
<dl class="answers">${Object.entries(one.responses).map(answer)}</dl>
</article>`

const eventId = ({name, from}: EventObject): string => `${from}-${name}`

const event = (one: EventObject): Html => {
  const call = [`'${one.name}'`, ...one.args.map(({name}) => name), ...(one.callback ? ['callback'] : [])].join(', ')
  return html`
<article id="${eventId(one)}">
<h3><span class="method ${one.from}">${one.from === 'client' ? 'EMIT' : 'ON'}</span> <code>${call}</code></h3>
<p class="summary">${one.summary}.</p>
${one.description ? prose(one.description) : ''}
${one.args.map(({name, schema}) => html`<h4><code>${name}</code></h4>${line(schema.description).html === '' ? '' : prose(String(schema.description))}${fields(schema, one.from === 'client')}`)}
${one.callback ? html`<h4>The callback gets</h4>${fields(one.callback, false)}` : ''}
${one.errors ? html`<p>or an <a href="#Error">Error</a> with ${one.errors.map((code, index) => [index > 0 ? ', ' : '', html`<code>${code}</code>`])}.</p>` : ''}
</article>`
}

/** The documentation for people: the same document that programs read, as one page without a script. */
export const apiDocsPage = ({info, tags, paths, components, 'x-socket-events': events}: OpenApi): string => {
  const operations = Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, one]) => ({path, method, one})),
  )
  const groups = tags.map(({name, description}) => ({
    name,
    description,
    id: name.toLowerCase(),
    operations: operations.filter(({one}) => one.tags.includes(name)),
  }))
  const page = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>API of the ${info.title.toLowerCase()}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/api-docs.css">
</head>
<body>
<a class="skip" href="#main">To the content</a>
<header><h1>${info.title}: the API</h1><p>${info.summary} The same for programs: <a href="/openapi.json">openapi.json</a>, OpenAPI 3.1.</p></header>
<nav aria-label="Contents"><ul>
${groups.map(
  ({name, id, operations}) => html`<li><a href="#${id}">${name}</a><ul>
${operations.map(({path, method, one}) => html`<li><a href="#${one.operationId}"><span class="method ${method}">${method.toUpperCase()}</span> ${path}</a></li>`)}
</ul></li>`,
)}
<li><a href="#sockets">Socket.IO</a><ul>
${events.map((one) => html`<li><a href="#${eventId(one)}"><span class="method ${one.from}">${one.from === 'client' ? 'EMIT' : 'ON'}</span> ${one.name}</a></li>`)}
</ul></li>
<li><a href="#shapes">Shapes</a></li>
</ul></nav>
<main id="main" tabindex="-1">
<section>${prose(info.description)}</section>
${groups.map(
  ({
    name,
    id,
    description,
    operations,
  }) => html`<section aria-labelledby="${id}"><h2 id="${id}">${name}</h2><p>${description}</p>
${operations.map(({path, method, one}) => operation(path, method, one))}
</section>`,
)}
<section aria-labelledby="sockets"><h2 id="sockets">Socket.IO</h2>
<p>At <code>/socket.io</code>. The session's cookie signs in; a bot sends <code>auth: {botToken, botId, botName}</code>. A client ignores events that it does not know.
A packet of more than 128 KiB ends the connection.</p>
${events.map(event)}
</section>
<section aria-labelledby="shapes"><h2 id="shapes">Shapes</h2>
${Object.entries(components.schemas).map(
  ([id, schema]) =>
    html`<article id="${id}"><h3>${id}</h3>${prose(String(schema.description ?? ''))}${fields(schema, false)}</article>`,
)}
</section>
</main>
</body>
</html>
`
  return page.html
}

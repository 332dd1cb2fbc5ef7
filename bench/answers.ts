import {createHash} from 'node:crypto'
import {writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'

/** Headers that Node sets, or that the middleware sets in the server and in the baseline alike. */
const SET_ANYWAY =
  /^(connection|keep-alive|date|content-length|transfer-encoding|x-request-id|content-security-policy|cross-origin-.*|origin-agent-cluster|referrer-policy|x-(content-type-options|dns-prefetch-control|download-options|frame-options|permitted-cross-domain-policies|xss-protection))$/

export type Answer = {path: string; file: string; headers: Record<string, string>}

/** What the server answers, for a baseline to answer the same. */
export const answerOf = async (url: string, path: string, cookie?: string): Promise<Answer> => {
  const response = await fetch(`${url}${path}`, {headers: cookie === undefined ? {} : {cookie}})
  if (response.status !== 200) throw new Error(`${path} was answered with ${response.status}`)
  const body = Buffer.from(await response.arrayBuffer())
  const file = join(
    tmpdir(),
    `community-bench-${createHash('sha256')
      .update(url + path)
      .digest('hex')
      .slice(0, 16)}`,
  )
  await writeFile(file, body)
  const headers = Object.fromEntries([...response.headers].filter(([name]) => !SET_ANYWAY.test(name)))
  return {path, file, headers}
}

/** A baseline that says something else, or with other headers, is no baseline. */
export const assertSame = async (ours: string, baseline: string, path: string, cookie?: string): Promise<void> => {
  const [one, other] = await Promise.all(
    [ours, baseline].map(async (url) => {
      const response = await fetch(`${url}${path}`, {headers: cookie === undefined ? {} : {cookie}})
      const names = [...response.headers.keys()].filter((name) => name !== 'set-cookie').sort()
      return {status: response.status, names: names.join(', '), body: await response.text()}
    }),
  )
  if (one!.body !== other!.body || one!.names !== other!.names || one!.status !== other!.status) {
    throw new Error(
      `${path}: the baseline answers ${other!.status} ${other!.names} ${other!.body.slice(0, 300)}, not ${one!.status} ${one!.names} ${one!.body.slice(0, 300)}`,
    )
  }
}

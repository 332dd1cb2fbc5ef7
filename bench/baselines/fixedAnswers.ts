import {readFileSync} from 'node:fs'
import {bare, listen, optionsOf, withMiddleware} from './middleware.ts'

/** Answers that were made before, from memory. */
const {port, middleware, answers} = optionsOf<{
  middleware: boolean
  /** `file` holds the body; `headers` are those that the middleware does not set. */
  answers: {path: string; file: string; headers: Record<string, string>}[]
}>()

const app = middleware ? withMiddleware(`http://127.0.0.1:${port}`) : bare()
for (const {path, file, headers} of answers) {
  const body = readFileSync(file)
  app.get(path, (_req, res) => void res.set(headers).send(body))
}
listen(app, port)

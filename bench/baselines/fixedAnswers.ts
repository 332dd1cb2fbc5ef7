import {readFileSync} from 'node:fs'
import bcrypt from 'bcrypt'
import {json} from 'express'
import {bare, listen, optionsOf, withMiddleware} from './middleware.ts'

/** Answers that were made before, from memory. */
const {port, middleware, answers, hash} = optionsOf<{
  middleware: boolean
  /** `file` holds the body; `headers` are those that the middleware does not set. */
  answers: {path: string; file: string; headers: Record<string, string>}[]
  /** Of the password that logs in. */
  hash?: string
}>()

const app = middleware ? withMiddleware(`http://127.0.0.1:${port}`) : bare()
for (const {path, file, headers} of answers) {
  const body = readFileSync(file)
  app.get(path, (_req, res) => void res.set(headers).send(body))
}
app.post('/api/email/login', json(), async (req, res) => {
  const matches = await bcrypt.compare(req.body.password, hash!)
  res.status(matches ? 200 : 401).json({ok: matches})
})
listen(app, port)

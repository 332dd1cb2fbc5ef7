import {randomUUID} from 'node:crypto'
import {ServerResponse, STATUS_CODES} from 'node:http'
import type {Duplex} from 'node:stream'
import {ApiError, errorBody, unreadable} from '../edge/errors.ts'
import {STATUS} from './statuses.ts'

const answerOf = (error: ApiError) => {
  const requestId = randomUUID()
  const body = JSON.stringify(errorBody(error, requestId))
  const headers = {
    'Content-Type': 'application/json; charset=utf-8',
    'Content-Length': Buffer.byteLength(body),
    'Cache-Control': 'no-store',
    'X-Request-Id': requestId,
    Connection: 'close',
  }
  return {status: STATUS[error.code], headers, body}
}

const endWith = (socket: NodeJS.WritableStream, error: ApiError): void => {
  const {status, headers, body} = answerOf(error)
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${lines.join('')}\r\n${body}`)
}

/** The error answer of a socket's handshake. To an upgrade there is no response object, only the connection. */
export const refuseHandshake = (res: ServerResponse, error: ApiError): void => {
  if (res instanceof ServerResponse) {
    const {status, headers, body} = answerOf(error)
    res.writeHead(status, headers).end(body)
  } else endWith((res as {socket: NodeJS.WritableStream}).socket, error)
}

const TOO_SLOW = 'ERR_HTTP_REQUEST_TIMEOUT'

/** The answer to what Node's parser can't take for a request: there is no request object for it. */
export const refuseMalformed = (fault: NodeJS.ErrnoException, socket: Duplex): void => {
  // As Node's own answer: not into the midst of another one.
  const underWay = (socket as {_httpMessage?: {headersSent: boolean} | null})._httpMessage
  if (!socket.writable || underWay?.headersSent) socket.destroy()
  else if (fault.code === 'HPE_HEADER_OVERFLOW') endWith(socket, new ApiError('TOO_LARGE'))
  else endWith(socket, unreadable(fault.code === TOO_SLOW ? 'it did not arrive in time' : 'it is not HTTP'))
}
